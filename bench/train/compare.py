#!/usr/bin/env python3
"""hone and TRL + PEFT by turns on the same rows (see README.md)."""
import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

import works

PROGRAMS = ("hone-f32", "hone-int8", "trl")
HERE = os.path.dirname(os.path.abspath(__file__))


def run(command):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(f"{shlex.join(command)}: exit {result.returncode}: {result.stderr.strip()[-800:]}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def rows_of(args, work, name):
    steps = args.steps or work["steps"][name]
    return steps, work["rows"](args.data, steps * work["batch"])


def run_hone(args, name, work, numerics):
    """A sample: tokens a second, peak memory, rows computed a token."""
    steps, rows = rows_of(args, work, "hone")
    pairs = work.get("pairs", False)
    with tempfile.TemporaryDirectory() as out:
        command = [args.hone, args.model, os.path.join(out, "run"), "-b", str(work["batch"]),
                   "-n", str(steps * work.get("epochs", 1)), "-t", str(args.threads), *shlex.split(args.hone_args)]
        command += ["-i"] if numerics == "int8" else []
        command += ["-P"] if pairs else []
        if name == "dense":
            command += ["-l", str(works.DENSE["tokens"])]
        else:
            path = os.path.join(out, "rows.jsonl")
            with open(path, "w", encoding="utf-8") as file:
                for row in rows:
                    file.write(json.dumps(row if pairs else {"messages": row["prompt"] + row["completion"]}))
                    file.write("\n")
            command += ["-d", path]
        said = run(command)
        with open(os.path.join(out, "run", "metrics.jsonl"), encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
    if pairs:
        return with_reference(lines, said)
    return sample(lines, said)


def with_reference(steps, said):
    """hone's reference is computed before the first step, TRL's within each: a step's share of it counts."""
    share = (said["until_step_s"] - steps[0]["seconds"]) / sum(s["tokens"] for s in steps)
    return sample([s | {"seconds": s["seconds"] + s["tokens"] * share} for s in steps], said)


def run_trl(args, name, work):
    if not args.python:
        sys.exit("TRL needs --python: a Python that has trl, peft and torch")
    steps, rows = rows_of(args, work, "trl")
    with tempfile.TemporaryDirectory() as out:
        path = os.path.join(out, "work.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"rows": rows, "steps": steps * work.get("epochs", 1), "batch": work["batch"],
                       "max_length": 1024, "dpo": work.get("pairs", False)}, file)
        said = run([args.python, os.path.join(HERE, "trl_peer.py"), args.folder, path, str(args.threads)])
    return sample(said["steps"], said)


def sample(steps, said):
    """Without the first step, in which both programs get their memory."""
    counted = steps[1:] or steps
    return {"tokens_s": sum(s["tokens"] for s in counted) / sum(s["seconds"] for s in counted),
            "peak_mb": said["peak_mb"], "steps": steps, "said": {k: said[k] for k in said if k != "steps"}}


def measure(args, name, program):
    work = works.WORKS[name]
    return run_trl(args, name, work) if program == "trl" else run_hone(args, name, work, program.split("-")[1])


def check_same_tokens(name, samples):
    """The programs see the same tokens, or the comparison is none."""
    seen = {}
    for program in samples:
        for s in samples[program]:
            for i, step in enumerate(s["steps"]):
                if seen.setdefault(i, step["tokens"]) != step["tokens"]:
                    sys.exit(f"{name}, step {i + 1}: {program} counts {step['tokens']} tokens, another {seen[i]}")


def print_table(result):
    print(f"{'work':12} {'program':10} {'tokens/s':>9} {'ratio':>6} {'peak MB':>8}   medians of (turns)")
    for name, samples in result["works"].items():
        check_same_tokens(name, samples)
        medians = {p: statistics.median(s["tokens_s"] for s in samples[p]) for p in samples}
        for p in sorted(samples):
            peak = max(s["peak_mb"] for s in samples[p])
            ratio = f"{medians[p] / medians['trl']:6.2f}" if "trl" in medians else f"{'':6}"
            print(f"{name:12} {p:10} {medians[p]:9.1f} {ratio} {peak:8.0f}   ({len(samples[p])})")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a GGUF")
    parser.add_argument("--hone", required=True, help="the program bench-train")
    parser.add_argument("--hone-args", default="", help="more options for it, in one text")
    parser.add_argument("--python", help="a Python with trl, peft and torch")
    parser.add_argument("--folder", help="the model for it: `hone export MODEL --type f32 -o FOLDER`")
    parser.add_argument("--data", default="../shared/data", help="folder of the data sets")
    parser.add_argument("--works", default=",".join(works.WORKS), help="which, of " + ", ".join(works.WORKS))
    parser.add_argument("--programs", default=",".join(PROGRAMS), help="which, of " + ", ".join(PROGRAMS))
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("-r", "--turns", type=int, default=3)
    parser.add_argument("-n", "--steps", type=int, help="steps of a turn; otherwise each work's own")
    parser.add_argument("--json", help="file for the samples; those that are there stay and count")
    args = parser.parse_args()
    names, programs = args.works.split(","), args.programs.split(",")
    for given, known in ((names, works.WORKS), (programs, PROGRAMS)):
        for name in given:
            if name not in known:
                sys.exit(f"{name}: there is {', '.join(known)}")
    result = {"works": {}}
    if args.json and os.path.exists(args.json):
        with open(args.json, encoding="utf-8") as file:
            result = json.load(file)
    result |= {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "threads": args.threads}
    for name in names:
        for turn in range(args.turns):
            for program in sorted(programs, reverse=turn % 2 == 1):
                samples = result["works"].setdefault(name, {}).setdefault(program, [])
                samples.append(measure(args, name, program))
                print(".", end="", file=sys.stderr, flush=True)
                if args.json:
                    with open(args.json, "w", encoding="utf-8") as file:
                        json.dump(result, file, indent=1)
    print(file=sys.stderr)
    print_table(result)


main()
