#!/usr/bin/env python3
"""hone and llama.cpp's llama-bench by turns on the same files (see README.md)."""
import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import time

import llama_cpp


def run(command):
    """The tests that a program reports as JSON on its standard output."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(f"{shlex.join(command)}: exit {result.returncode}: {result.stderr.strip()[-400:]}")
    return json.loads(result.stdout)


def key(test):
    return test["n_prompt"], test["n_gen"], test.get("n_depth", 0)


def name(test, kv_type):
    n_prompt, n_gen, n_depth = test
    return ((f"pp{n_prompt}" if n_prompt else f"tg{n_gen}") + (f" @{n_depth}" if n_depth else "")
            + (f" {kv_type}" if kv_type else ""))


def commands(args, model, kv_type):
    shared = ["-p", args.n_prompt, "-n", args.n_gen, "-t", str(args.threads), "-r", "1"]
    if args.n_depth != "0":
        shared += ["-d", args.n_depth]
    hone, peer = shlex.split(args.hone_args), shlex.split(args.peer_args)
    if kv_type:
        hone += ["--kv-type", kv_type]
        # llama.cpp holds values in a quantised type with flash attention only.
        peer += ["-ctk", kv_type, "-ctv", kv_type, "-fa", "1"]
    return {"hone": [args.hone, "bench", model, *shared, "--json", "--quiet", "--no-limits", *hone],
            "peer": [args.peer, "-m", model, *shared, "-o", "json", *peer]}


def measure(args, model, kv_type):
    """For each test both programs' samples of tokens a second, and one report of each program."""
    samples, reports = {}, {}
    programs = commands(args, model, kv_type)
    for turn in range(args.repetitions):
        for who in sorted(programs, reverse=turn % 2 == 1):
            for test in run(programs[who]):
                reports[who] = test
                held = test.get("type_k"), test.get("type_v")
                if kv_type and held != (kv_type, kv_type):
                    sys.exit(f"{programs[who][0]}: its cache was in {held[0]} and {held[1]}, not in {kv_type}")
                samples.setdefault(key(test), {}).setdefault(who, []).append(test["avg_ts"])
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    unpaired = [test for test in samples if len(samples[test]) < 2]
    if unpaired:
        sys.exit(f"{model}: only one of the programs measured "
                 + ", ".join(name(test, kv_type) for test in unpaired))
    return samples, reports


def compare(args, model, kv_type):
    samples, reports = measure(args, model, kv_type)
    rows = []
    for test, rates in samples.items():
        medians = {who: statistics.median(rates[who]) for who in rates}
        rows.append({"model": os.path.basename(model), "size": os.path.getsize(model), "test": name(test, kv_type),
                     "kv_type": kv_type, "hone_ts": medians["hone"], "peer_ts": medians["peer"],
                     "ratio": medians["hone"] / medians["peer"], "samples": rates})
        print(f"{rows[-1]['model']:36} {rows[-1]['test']:>14} {medians['hone']:10.1f} {medians['peer']:10.1f} "
              f"{rows[-1]['ratio']:8.2f}", flush=True)
    return rows, {who: {k: reports[who].get(k) for k in ("build_commit", "cpu_info", "isa", "n_threads")}
                  for who in reports}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--hone", required=True, help="the program")
    parser.add_argument("--peer", help="a llama-bench that is there already; otherwise llama.cpp's is built")
    parser.add_argument("--peer-args", default="", help="more options for it, in one text")
    parser.add_argument("--hone-args", default="", help="more options for hone bench, in one text")
    parser.add_argument("-p", "--n-prompt", default="512")
    parser.add_argument("-n", "--n-gen", default="128")
    parser.add_argument("-d", "--n-depth", default="0")
    parser.add_argument("--kv-type", help="types of the cache, with the peer's flash attention: f16,q8_0,q4_0; "
                        "without it each program's own")
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("-r", "--repetitions", type=int, default=5)
    parser.add_argument("--json", help="file for the samples")
    args = parser.parse_args()
    args.peer = args.peer or llama_cpp.build()
    result = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "threads": args.threads,
              "repetitions": args.repetitions, "peer_args": args.peer_args, "hone_args": args.hone_args, "tests": []}
    print(f"{'file':36} {'test':>14} {'hone':>10} {'peer':>10} {'ratio':>8}   median tokens/s of {args.repetitions}")
    for model in args.models:
        for kv_type in args.kv_type.split(",") if args.kv_type else [None]:
            rows, result["programs"] = compare(args, model, kv_type)
            result["tests"] += rows
    print(", ".join(f"{who}: {said['build_commit']}" for who, said in result["programs"].items()))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


main()
