#!/usr/bin/env python3
"""The table of kl-table from the logs and files it left: kl_table.py OUT CHUNKS TYPE..."""
import json
import os
import re
import sys


def distance(path):
    """KL (mean, standard error) and the share of equal first tokens of a llama-perplexity log."""
    with open(path, encoding="utf-8", errors="replace") as log:
        text = log.read()
    kl = re.search(r"Mean\s+KLD:\s+(-?[\d.]+)\s+.\s+([\d.]+)", text)
    same = re.search(r"Same top p:\s+([\d.]+)", text)
    if not kl or not same:
        sys.exit(f"{path}: no KL in it")
    return float(kl[1]), float(kl[2]), float(same[1])


def main():
    out, chunks, types = sys.argv[1], sys.argv[2], sys.argv[3:]
    print("| type | bytes, hone | bytes, llama-quantize | KL, hone | KL, llama-quantize | hone's share"
          " | same top token, hone / llama-quantize | adapter: cosine, norm ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in types:
        ours = distance(f"{out}/hone.{kind}.{chunks}.kl")
        theirs = distance(f"{out}/llama.{kind}.{chunks}.kl")
        with open(f"{out}/hone.{kind}.json", encoding="utf-8") as report:
            report = json.load(report)
        print(f"| {kind} | {os.path.getsize(f'{out}/hone.{kind}.gguf'):,} | {os.path.getsize(f'{out}/llama.{kind}.gguf'):,}"
              f" | {ours[0]:.6f} ± {ours[1]:.6f} | {theirs[0]:.6f} ± {theirs[1]:.6f}"
              f" | {ours[0] / theirs[0] if theirs[0] else float('nan'):.3f} | {ours[2]:.2f} % / {theirs[2]:.2f} %"
              f" | {report['adapter_cosine']:.3f}, {report['adapter_norm_ratio']:.3f} |")


main()
