#!/usr/bin/env python3
"""The table of keeps-what-was-taught from the files that it left: keeps_table.py OUT EVERY BASE ADAPTER"""
import glob
import json
import os
import sys


def samples(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def size_of(path):
    if os.path.isdir(path):
        return sum(size_of(os.path.join(path, name)) for name in os.listdir(path))
    return os.path.getsize(path)


def main():
    out, every, base, adapter = sys.argv[1:5]
    reference = samples(f"{out}/float.{every}.jsonl")
    print("| artefact | bytes | in scope | less than float | out of scope | answers that differ: lost, won |")
    print("| --- | --- | --- | --- | --- | --- |")
    right = None
    names = ["float", "adapter"] + sorted(
        os.path.basename(path)[: -len(f".{every}.jsonl")] for path in glob.glob(f"{out}/*.*.{every}.jsonl"))
    for name in names:
        rows = samples(f"{out}/{name}.{every}.jsonl")
        assert [r["doc_hash"] for r in rows] == [r["doc_hash"] for r in reference], f"{name}: other rows"
        inside = [r for r in rows if not r["slice"].startswith("out_of_scope")]
        outside = [r for r in rows if r["slice"].startswith("out_of_scope")]
        score = sum(r["passed"] for r in inside) / len(inside)
        right = score if right is None else right
        recall = f"{sum(r['passed'] for r in outside) / len(outside):.3f}" if outside else ""
        flips = [(r, f) for r, f in zip(rows, reference) if r["answer"] != f["answer"]]
        lost = sum(f["passed"] and not r["passed"] for r, f in flips)
        won = sum(r["passed"] and not f["passed"] for r, f in flips)
        size = size_of(base) + size_of(adapter) if name == "adapter" else size_of(f"{out}/{name}.gguf")
        print(f"| {name} | {size:,} | {score:.4f} | {right - score:+.4f} | {recall} | {len(flips)}: {lost}, {won} |")


main()
