#!/usr/bin/env python3
"""Greedy continuations of the same prompts by hone and by llama.cpp (see README.md)."""
import argparse
import array
import json
import os
import subprocess
import sys
import tempfile


def read_prompts(path, count):
    """`count` prompts of moderate length, spread evenly over the file."""
    prompts = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            text = line.strip()
            if path.endswith(".jsonl"):
                row = json.loads(line)
                text = next((row[key] for key in ("prompt", "question", "instruction") if key in row), "").strip()
            # llama-completion reads backslashes as escapes and control tokens as tokens.
            if 20 <= len(text) <= 240 and "\n" not in text and "\\" not in text and "<|" not in text:
                prompts.append(text)
    if len(prompts) < count:
        sys.exit(f"{path}: only {len(prompts)} fitting prompts")
    return [prompts[i * len(prompts) // count] for i in range(count)]


def output(command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def by_hone(args, model, prompt):
    banned = [word for token in args.end_tokens.split(",") for word in ("--logit-bias", f"{token}=-1000")]
    text = output([args.hone, "chat", model, "--raw", "--prompt", prompt, "--max-tokens", str(args.tokens),
                   "--threads", str(args.threads), "--json", "--quiet"] + banned)
    return json.loads(text)["text"]


def by_llama(args, model, prompt):
    text = output([os.path.join(args.llama, "llama-completion"), "-m", model, "-p", prompt, "-n", str(args.tokens),
                   "--temp", "0", "--ignore-eos", "-no-cnv", "--no-display-prompt", "--no-warmup", "-t",
                   str(args.threads)])
    return text.decode("utf-8", errors="replace")


def ids_of(args, model, text):
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        return [int(i) for i in output([args.hone, "tokenize", model, "--ids", "--file", file.name]).decode()
                .replace("[", " ").replace("]", " ").replace(",", " ").split()]


def read_npy_row(path):
    """The values of hone's (1, n) float32 .npy file."""
    with open(path, "rb") as file:
        data = file.read()
    start = 10 + int.from_bytes(data[8:10], "little")
    values = array.array("f")
    values.frombytes(data[start:])
    return values


def parting(args, model, prompt, ours, theirs):
    """Where two continuations part, and hone's logits there: (tokens in common, description)."""
    a, b = ids_of(args, model, prompt + ours), ids_of(args, model, prompt + theirs)
    common = 0
    while common < min(len(a), len(b)) and a[common] == b[common]:
        common += 1
    if common == min(len(a), len(b)):
        return common, "one is the beginning of the other"
    head = output([args.hone, "detokenize", model] + [str(i) for i in a[:common]]).decode("utf-8")
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        for numerics in ("int8", "f32"):
            text, npy = os.path.join(folder, "text"), os.path.join(folder, "logits.npy")
            with open(text, "w", encoding="utf-8") as file:
                file.write(head)
            output([args.hone, "logits", model, "--file", text, "--last", "--numerics", numerics, "-o", npy, "--quiet"])
            logits = read_npy_row(npy)
            banned = {int(token) for token in args.end_tokens.split(",")}
            best = sorted((i for i in range(len(logits)) if i not in banned), key=lambda i: -logits[i])[:2]
            gap = logits[a[common]] - logits[b[common]]
            top = "the best two" if set(best) == {a[common], b[common]} else f"best two {best}"
            parts.append(f"{numerics}: hone's token ahead by {gap:.3f}, {top}")
    return common, "; ".join(parts)


def load(path):
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    return {}


def compare(args, model, prompts):
    path = os.path.join(args.out, os.path.basename(model) + ".json")
    answers = load(path)
    different = []
    for number, prompt in enumerate(prompts):
        key = f"{args.tokens} {prompt}"
        if key not in answers:
            answers[key] = [by_hone(args, model, prompt), by_llama(args, model, prompt)]
            with open(path + ".part", "w", encoding="utf-8") as file:
                json.dump(answers, file)
            os.replace(path + ".part", path)
        # llama-completion ends its answer with a line break.
        ours, theirs = (text.rstrip() for text in answers[key])
        if ours != theirs:
            different.append((number, prompt, ours, theirs))
    same = len(prompts) - len(different)
    print(f"{os.path.basename(model)}: {same} of {len(prompts)} identical over {args.tokens} tokens", flush=True)
    for number, prompt, ours, theirs in different:
        common, text = parting(args, model, prompt, ours, theirs)
        print(f"  prompt {number}: part at token {common} ({text})", flush=True)
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--hone", required=True)
    parser.add_argument("--llama", required=True, help="folder with llama-completion")
    parser.add_argument("--prompts", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--end-tokens", default="0,2",
                        help="ids that end an answer: never chosen, as llama.cpp's --ignore-eos has it (SmolLM2: 0,2)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    prompts = read_prompts(args.prompts, args.count)
    worst = min(compare(args, model, prompts) for model in args.models)
    sys.exit(0 if worst >= 0.95 * args.count else 1)


main()
