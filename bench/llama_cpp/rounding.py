#!/usr/bin/env python3
"""What rounding activations to 8 bits costs in hone and in llama.cpp: the KL divergence of each one's logits to those
computed in f32 over the same weights, at every position of the continuations that continuation.py left."""
import argparse
import json
import subprocess
import tempfile

import numpy as np
from library import Llama


def by_hone(args, ids, numerics):
    with tempfile.NamedTemporaryFile(suffix=".npy") as npy:
        subprocess.run([args.hone, "logits", args.model, " ".join(map(str, ids)), "--ids", "--numerics", numerics, "-o",
                        npy.name, "--quiet", "--threads", str(args.threads)], check=True, stdout=subprocess.DEVNULL)
        return np.load(npy.name)


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--hone", required=True)
    parser.add_argument("--answers", required=True, help="a JSON file that continuation.py left")
    parser.add_argument("--count", type=int, default=40, help="continuations to take")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    with open(args.answers, encoding="utf-8") as file:
        texts = [prompt + answer for prompt, answer, _ in json.load(file)["llama"].values()][:args.count]
    llama = Llama(args.model, max(map(len, texts)), 1, False, args.threads)
    kls, same, largest = {"hone": [], "llama.cpp": []}, {"hone": [], "llama.cpp": []}, {"hone": [], "llama.cpp": []}
    for ids in texts:
        reference = by_hone(args, ids, "f32")
        right = log_softmax(reference)
        for name, logits in (("hone", by_hone(args, ids, "int8")), ("llama.cpp", llama.prompt_logits(ids))):
            kls[name].append((np.exp(right) * (right - log_softmax(logits))).sum(axis=1))
            same[name].append(logits.argmax(axis=1) == reference.argmax(axis=1))
            largest[name].append(np.abs(logits - reference).max(axis=1))
    more = np.concatenate(kls["hone"]) - np.concatenate(kls["llama.cpp"])
    print(f"hone's KL is {more.mean():.5f} +- {more.std() / len(more) ** 0.5:.5f} above llama.cpp's")
    for name in kls:
        kl, hit, far = (np.concatenate(values[name]) for values in (kls, same, largest))
        print(f"{name}: KL {kl.mean():.5f} (median {np.median(kl):.5f}, 99 % below {np.quantile(kl, 0.99):.4f}), first "
              f"token as in f32 at {100 * hit.mean():.2f} %, largest difference of a logit {far.mean():.3f} on average, "
              f"{far.max():.2f} at most; {len(kl)} positions")


main()
