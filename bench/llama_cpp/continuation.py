#!/usr/bin/env python3
"""Greedy continuations of the same prompts by hone and by llama.cpp (see README.md)."""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from dequantise import dequantise
from library import Llama

SIDE_BY_SIDE = 10


def read_prompts(path, count):
    """`count` prompts of moderate length, spread evenly over the file."""
    prompts = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            text = line.strip()
            if path.endswith(".jsonl"):
                row = json.loads(line)
                text = next((row[key] for key in ("prompt", "question", "instruction") if key in row), "").strip()
            if 20 <= len(text) <= 240 and "\n" not in text and "\\" not in text and "<|" not in text:
                prompts.append(text)
    if len(prompts) < count:
        sys.exit(f"{path}: only {len(prompts)} fitting prompts")
    return [prompts[i * len(prompts) // count] for i in range(count)]


def output(command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def in_template(args, model, prompt):
    """A question and the opening of its answer, in the file's own chat template."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump([{"role": "user", "content": prompt}], file)
        file.flush()
        return output([args.hone, "render", model, file.name]).decode("utf-8")


def by_hone(args, model, prompt):
    command = [args.hone, "chat", model, "--raw", "--prompt", prompt, "--max-tokens", str(args.tokens), "--threads",
               str(args.threads), "--numerics", args.numerics, "--json", "--quiet"]
    command += ["--special"] if args.chat else []
    for token in args.banned:
        command += ["--logit-bias", f"{token}=-1000"]
    return json.loads(output(command))["text"]


def by_llama(args, model, prompts):
    """For each prompt itself, its ids, and the answer's ids and text."""
    # Several sequences at once change nothing but rounding in f32; in int8 it is done as in chat.
    width = SIDE_BY_SIDE if args.weights_only else 1
    longest = max(len(prompt) for prompt in prompts)
    llama = Llama(model, longest + args.tokens, width, args.weights_only, args.threads)
    for at in range(0, len(prompts), width):
        some = prompts[at:at + width]
        ids = [llama.ids(prompt, args.chat) for prompt in some]
        answers = llama.continuations(ids, args.tokens, args.banned)
        texts = [llama.text(answer[:-1] if llama.ends(answer[-1]) else answer) for answer in answers]
        yield from zip(some, ids, answers, texts)
    llama.close()


def logits_of(args, model, ids, numerics):
    with tempfile.TemporaryDirectory() as folder:
        path, npy = os.path.join(folder, "ids"), os.path.join(folder, "logits.npy")
        with open(path, "w", encoding="utf-8") as file:
            file.write(" ".join(map(str, ids)))
        output([args.hone, "logits", model, "--ids", "--file", path, "--numerics", numerics, "-o", npy, "--quiet",
                "--threads", str(args.threads)])
        logits = np.load(npy)
    logits[:, args.banned] = -1000
    return logits


def parting(args, model, prompt, answer):
    """Where hone leaves llama.cpp's answer (ids), and the two tokens' logits there, in both numerics."""
    logits = {n: logits_of(args, model, prompt + answer[:-1], n)[len(prompt) - 1:] for n in ("int8", "f32")}
    best = logits[args.numerics].argmax(axis=1)
    at = next((i for i, token in enumerate(answer) if best[i] != token), None)
    if at is None:
        return "the texts differ, hone's best tokens don't"
    row = {numerics: values[at] for numerics, values in logits.items()}
    gaps = ", ".join(f"{row[n][best[at]] - row[n][answer[at]]:.4f} in {n}" for n in row)
    rank = int((row[args.numerics] > row[args.numerics][answer[at]]).sum()) + 1
    return f"token {at}: hone's is ahead of llama.cpp's, its number {rank}, by {gaps}"


def load(path):
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    return {}


def save(path, value):
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(path + ".part", path)


def compare(args, model, prompts):
    if args.chat:
        prompts = [in_template(args, model, prompt) for prompt in prompts]
    mode = (".weights-only" if args.weights_only else "") + (".chat" if args.chat else "")
    path = os.path.join(args.out, os.path.basename(model) + mode + ".json")
    known = load(path)
    theirs, ours = known.setdefault("llama", {}), known.setdefault("hone", {})
    missing = [prompt for prompt in prompts if prompt not in theirs]
    read_by_llama = path + ".gguf" if args.weights_only else model
    if missing and not os.path.exists(read_by_llama):
        dequantise(model, read_by_llama + ".part")
        os.replace(read_by_llama + ".part", read_by_llama)
    if missing:
        for prompt, *answer in by_llama(args, read_by_llama, missing):
            theirs[prompt] = answer
            save(path, known)
    if args.weights_only and os.path.exists(read_by_llama):
        ids = theirs[prompts[0]][0] + theirs[prompts[0]][1]
        off = np.abs(logits_of(args, model, ids, "f32") - logits_of(args, read_by_llama, ids, "f32")).max()
        print(f"{os.path.basename(model)}: hone's logits from the f32 copy differ by {off} at most", flush=True)
        os.remove(read_by_llama)
    for prompt in prompts:
        if prompt not in ours:
            ours[prompt] = by_hone(args, model, prompt)
            save(path, known)
    different = [(i, prompt) for i, prompt in enumerate(prompts) if ours[prompt] != theirs[prompt][2]]
    same = len(prompts) - len(different)
    print(f"{os.path.basename(model)}: {same} of {len(prompts)} identical over {args.tokens} tokens", flush=True)
    for number, prompt in different:
        print(f"  prompt {number}, {parting(args, model, *theirs[prompt][:2])}", flush=True)
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--hone", required=True)
    parser.add_argument("--prompts", required=True)
    parser.add_argument("--out", required=True, help="folder that keeps the answers, so that a second call goes on")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--end-tokens", default="0,2", help="ids that end an answer: not chosen (SmolLM2: 0,2)")
    parser.add_argument("--weights-only", action="store_true",
                        help="llama.cpp gets the file's values as f32 and hone computes in f32: the same function")
    parser.add_argument("--chat", action="store_true", help="prompts in the file's chat template; answers may end")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    args.numerics = "f32" if args.weights_only else "int8"
    args.banned = [] if args.chat else [int(token) for token in args.end_tokens.split(",")]
    os.makedirs(args.out, exist_ok=True)
    prompts = read_prompts(args.prompts, args.count)
    worst = min(compare(args, model, prompts) for model in args.models)
    sys.exit(0 if worst >= 0.95 * args.count else 1)


main()
