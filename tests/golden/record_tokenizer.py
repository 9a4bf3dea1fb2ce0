#!/usr/bin/env python3
"""Records what the `tokenizers` package makes of 100,000 random strings, as one hash a thousand, into
tokenizer_random.json.  tests/unit/test_tokenizer_random.c makes the same strings from the same
Philox stream and compares.

Usage: record_tokenizer.py SHARED_DATA BASE_GGUF > tokenizer_random.json
(needs tokenizers, gguf, numpy)"""
import hashlib
import json
import struct
import sys

import numpy as np
from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

SEED, GROUP, GROUPS, WORDS = 20261121, 1000, 100, 512
FRAGMENTS = [
    " the", "The", " hello", "world", "ing", " and", " of", "function", "(){", " return", "don't",
    "'s", "'S", "'ll", "'LL", "'\u017f", "'re", "'vE", " 'd", "'", "\u2019s", "x'M", "'T ", "_",
    "...", "\u2014", "http://", "3.14", "\uff11\uff12\uff13", "\u00bd", "\u2167", "\u00b2",
    "\u00a0", "\u3000", "\u200b", "\u2028", "\u0085", "\u180e", "\u1680", "\u00e9", "e\u0301",
    "a\u0323\u0302", "\ufb01", "\u212b", "\u1100\u1161\u11a8", "\u0958", "\u2581", "\u2581the",
    "\u0120", "\u00ff", "<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>",
    "<|begin_of_text|>", "<s>", "</s>", "<unk>", "<0x0A>", "<|", "|>", "\U0001f469\u200d\U0001f467",
    "\U0001f44d\U0001f3fd", "\u0e01\u0e33", "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0000", "\u0007",
]
BREAKS = ["\n", "\r\n", "\n\n", "\t", "\r", "\x0b", " \n"]


def philox(streams):
    """WORDS numbers of 32 bits for each stream, as base/rng.c draws them."""
    blocks = WORDS // 4
    counter = np.tile(np.arange(blocks, dtype=np.uint64), len(streams))
    stream = np.repeat(np.asarray(streams, dtype=np.uint64), blocks)
    mask = np.uint64(0xFFFFFFFF)
    c = [counter & mask, counter >> np.uint64(32), stream & mask, stream >> np.uint64(32)]
    k0, k1 = SEED & 0xFFFFFFFF, SEED >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & mask,
             (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & mask]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, axis=1).reshape(len(streams), WORDS).tolist()


def make_string(words):
    draw = iter(words)

    def below(n):
        return next(draw) * n >> 32

    def char(c):
        return "\ufffd" if 0xD800 <= c < 0xE000 else chr(c)

    out = []
    for _ in range(1 + below(24)):
        kind = below(16)
        if kind < 4:
            out.append(FRAGMENTS[below(len(FRAGMENTS))])
        elif kind == 4:
            out.append(" " * (1 + below(4)))
        elif kind == 5:
            out.append(BREAKS[below(len(BREAKS))])
        elif kind == 6:
            out.append("".join(chr(48 + below(10)) for _ in range(1 + below(5))))
        elif kind == 7:
            out.append("".join(chr(33 + below(94)) for _ in range(1 + below(6))))
        elif kind == 8:
            out.append(char(0xA0 + below(0x1B0)))
        elif kind == 9:
            out.append("".join(char(0x370 + below(0x600)) for _ in range(1 + below(4))))
        elif kind == 10:
            out.append("".join(char(0x4E00 + below(0x5200)) for _ in range(1 + below(4))))
        elif kind == 11:
            out.append(char(0xAC00 + below(11172) if below(2) else 0x1100 + below(0x100)))
        elif kind == 12:
            out.append(char(0x300 + below(0x70)))
        elif kind == 13:
            out.append(char(0x1F300 + below(0x500)))
        elif kind == 14:
            out.append(char(below(0x10000)))
        else:
            out.append(char(below(0x110000)))
    return "".join(out)


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False,
                                                             use_regex=False)])


def add_tokens(tokenizer, tokens, kinds):
    for text, kind in zip(tokens, kinds):
        if kind in (2, 3, 4):
            token = AddedToken(text, special=kind != 4, normalized=False)
            (tokenizer.add_special_tokens if kind != 4 else tokenizer.add_tokens)([token])


def from_gguf(path):
    fields = GGUFReader(path).fields
    get = lambda key: fields["tokenizer.ggml." + key].contents()
    tokens, kinds = get("tokens"), get("token_type")
    vocab = {t: i for i, t in enumerate(tokens)}
    if get("model") == "llama":
        return from_scores(tokens, kinds, get("scores"), vocab)
    pre = get("pre")
    merges = [tuple(m.split(" ")) for m in get("merges")]
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=pre == "llama-bpe"))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = {
        "gpt-2": byte_level, "llama-bpe": split(LLAMA3), "qwen2": split(QWEN2),
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level])}[pre]
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    add_tokens(tokenizer, tokens, kinds)
    return tokenizer


def from_scores(tokens, kinds, scores, vocab):
    """As transformers converts a SentencePiece model: every split of a token is a merge, best
    scores first."""
    merges = []
    for text, i in vocab.items():
        for cut in range(1, len(text)):
            left, right = vocab.get(text[:cut]), vocab.get(text[cut:])
            if left is not None and right is not None:
                merges.append((-scores[i], left, right, text[:cut], text[cut:]))
    merges.sort(key=lambda m: m[:3])
    tokenizer = Tokenizer(models.BPE(vocab, [m[3:] for m in merges], unk_token="<unk>",
                                     fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"),
                                                 normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(),
                                           decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    add_tokens(tokenizer, tokens, kinds)
    return tokenizer


def record(tokenizer, groups):
    hashes = []
    for strings in groups:
        sha = hashlib.sha256()
        for parse_special in (True, False):
            tokenizer.encode_special_tokens = not parse_special
            encoded = tokenizer.encode_batch(strings, add_special_tokens=False)
            for e in encoded:
                sha.update(struct.pack(f"<{len(e.ids) + 1}i", *e.ids, -1))
            if parse_special:
                for text in tokenizer.decode_batch([e.ids for e in encoded]):
                    sha.update(text.encode() + b"\xff")
        hashes.append(sha.hexdigest()[:16])
    return hashes


def main():
    data, base = sys.argv[1:]
    groups = [[make_string(w) for w in philox(range(g * GROUP, (g + 1) * GROUP))]
              for g in range(GROUPS)]
    ggml = data + "/tokenizers/ggml_vocab/ggml-vocab-"
    sources = {"smollm2/tokenizer.json": Tokenizer.from_file(data + "/smollm2/tokenizer.json"),
               "base": from_gguf(base)}
    for name in ("gpt-2", "llama-bpe", "qwen2", "llama-spm"):
        sources[f"tokenizers/ggml_vocab/ggml-vocab-{name}.gguf"] = from_gguf(f"{ggml}{name}.gguf")
    if len(sys.argv) == 3:
        json.dump({"seed": SEED, "group": GROUP, "fragments": FRAGMENTS, "breaks": BREAKS,
                   "hashes": {k: record(t, groups) for k, t in sources.items()}}, sys.stdout,
                  indent=0)
        print()


if __name__ == "__main__":
    main()
