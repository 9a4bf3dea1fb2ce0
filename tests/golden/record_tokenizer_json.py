#!/usr/bin/env python3
"""Records ids and decoded texts of the small tokenizer.json files in tests/fuzz/corpus/tokenizer_json
and of variants of them, by the `tokenizers` package, into tokenizer_json.json: one case a setting of
the format.  Usage: record_tokenizer_json.py > tokenizer_json.json"""
import copy
import json
import os

from tokenizers import Tokenizer, pre_tokenizers

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../fuzz/corpus/tokenizer_json")
TEXTS = ["hello world", " hello  world ", "  hello\nhello", "hello<s>world", "x <|end|>  hello", "",
         "it's 1234 hello\u00e9\u4e16x", "h e</s>llo </s> </s>x", "\u2581hello world\u2581", "hellohello",
         "xxxhellox", "1 22 333", "<0x41>h\u00e9", "\n hello", "dll'sx", "\u0000hello", "\U0001f999 hello",
         # of Unicode 12 to 16
         " \U0002ee52<\u32ff\U0001fbf4\u0301 \U00016d43\u1c89h\U00011f50!\U0001fb40l"]
IDS = [[], [0, 1, 2, 3], [5, 1, 9], [3 + 0xE2, 3 + 0x96, 3 + 0x81], [3 + 0xFF, 3 + 0xE2, 20, 3 + 0x20, 1],
       [18, 19, 20, 21, 22, 23], [259, 260, 259, 261], [270, 1, 271, 272], [99999, 4]]


def load(name):
    return json.loads(open(f"{CORPUS}/{name}.json", encoding="utf-8").read().split("\n---\n")[0])


def variants():
    for name in ("gpt2", "strings", "regex", "llama", "metaspace", "gemma"):
        yield name, load(name)
    gpt2, llama, meta, regex = load("gpt2"), load("llama"), load("metaspace"), load("regex")

    def change(base, **keys):
        made = copy.deepcopy(base)
        made.update(keys)
        return made

    byte_level = gpt2["pre_tokenizer"]
    yield "prefix", change(gpt2, pre_tokenizer={**byte_level, "add_prefix_space": True})
    yield "no regex", change(gpt2, pre_tokenizer={**byte_level, "use_regex": False})
    yield "no decoder", change(llama, decoder=None)
    for scheme in ("always", "first", "never"):
        for split in (True, False):
            step = {**meta["pre_tokenizer"], "prepend_scheme": scheme, "split": split}
            yield f"metaspace {scheme} {split}", change(
                meta, pre_tokenizer=step, decoder=step, added_tokens=llama["added_tokens"])
    for behavior in ("Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext"):
        for invert in (True, False):
            for pattern in ({"Regex": "l|\\s"}, {"String": "l"}):
                step = {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}
                yield f"{behavior} {invert} {list(pattern)[0]}", change(
                    gpt2, pre_tokenizer={"type": "Sequence", "pretokenizers": [
                        step, {**byte_level, "use_regex": False}]})
    yield "digits together", change(regex, pre_tokenizer={"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": False}, byte_level]})
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        yield form, change(gpt2, normalizer={"type": form})
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet()) + ["\u0120\u00f0"]
    all_bytes = {**gpt2["model"], "vocab": {token: i for i, token in enumerate(alphabet)}, "merges": ["\u0120 \u00f0"]}
    for form in ("NFD", "NFKC", "NFKD"):
        yield f"{form} bytes", change(gpt2, model=all_bytes, normalizer={"type": form}, added_tokens=[],
                                      post_processor=None)
    for pattern in (" ?\\p{L}+| ?[^\\s\\p{L}]+", "\\P{Lo}+", " ?\\pL", "[^\\P{So}]", "\\w+ ?", " ?[\\w]", "\\W+",
                    " ?\\p{^Lu}"):
        yield f"pattern {pattern}", change(
            gpt2, model=all_bytes, added_tokens=[], post_processor=None, pre_tokenizer={
                "type": "Sequence", "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
                    {**byte_level, "use_regex": False}]})
    for flag in ("lstrip", "rstrip", "single_word", "normalized", "special"):
        for value in (True, False):
            tokens = [{**t, flag: value} for t in llama["added_tokens"]]
            yield f"{flag} {value}", change(llama, added_tokens=tokens)
    for fuse in (True, False):
        for fallback in (True, False):
            model = {**llama["model"], "fuse_unk": fuse, "byte_fallback": fallback}
            yield f"unk {fuse} {fallback}", change(llama, model=model)
    model = {**llama["model"], "unk_token": None, "byte_fallback": False}
    yield "no unk", change(llama, model=model)
    strings = load("strings")
    for ignore in (True, False):
        vocab = {**strings["model"]["vocab"], "world": len(strings["model"]["vocab"])}
        yield f"ignore merges {ignore}", change(
            strings, model={**strings["model"], "vocab": vocab, "ignore_merges": ignore})


def main():
    cases = []
    for name, config in variants():
        text = json.dumps(config, ensure_ascii=False)
        tokenizer = Tokenizer.from_str(text)
        results = []
        for sample in TEXTS:
            row = [tokenizer.encode(sample, add_special_tokens=True).ids]
            tokenizer.encode_special_tokens = True
            row.append(tokenizer.encode(sample, add_special_tokens=False).ids)
            tokenizer.encode_special_tokens = False
            results.append(row)
        # the package decodes a normalized added token in its normalized form, and then doesn't take
        # it for special: hone hides it, so there is nothing to compare
        odd = any(t["normalized"] for t in config["added_tokens"]) and config["normalizer"]
        decoded = None if odd else [[tokenizer.decode(ids, skip_special_tokens=skip) for skip in (True, False)]
                   for ids in IDS]
        cases.append({"name": name, "config": text, "encoded": results, "decoded": decoded})
    print(json.dumps({"texts": TEXTS, "ids": IDS, "cases": cases}, ensure_ascii=True, indent=None,
                     separators=(",", ":")).replace('{"name"', '\n{"name"'))


main()
