#!/usr/bin/env python3
"""hone serve and llama.cpp's server by turns under the same load (see README.md)."""
import argparse
import asyncio
import itertools
import json
import os
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import load

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
import llama_cpp  # noqa: E402

START_SECONDS = 120
SLOTS, SLOT_TOKENS = 16, 1024
REQUESTS_A_CLIENT = 3


def requests_four(model):
    return 4, [load.body(model, load.text(i, 150), 64) for i in range(4 * REQUESTS_A_CLIENT)]


def requests_sixteen(model):
    return 16, [load.body(model, load.text(100 + i, 150), 64) for i in range(16 * REQUESTS_A_CLIENT)]


def requests_shared(model):
    system = load.text(7, 400)
    return 16, [load.body(model, load.text(200 + i, 12), 32, system) for i in range(16 * REQUESTS_A_CLIENT)]


def requests_mixed(model):
    """Without end: 64 clients, short and long prompts and answers, from a fixed set that comes again and again."""
    kinds = [(load.text(300 + i, 5 + 37 * i % 400), 8 + 29 * i % 120) for i in range(128)]
    return 64, (load.body(model, *kinds[i % len(kinds)]) for i in itertools.count())


LOADS = {"four": requests_four, "sixteen": requests_sixteen, "shared": requests_shared, "mixed": requests_mixed}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def commands(args, port):
    """Both with the same room: so many slots of so many tokens."""
    return {"hone": [args.hone, "serve", args.model, "--port", str(port), "--threads", str(args.threads), "--slots",
                     str(SLOTS), "--ctx", str(SLOT_TOKENS), "--access-log", "none", *shlex.split(args.hone_args)],
            "peer": [args.peer, "-m", args.model, "--port", str(port), "-t", str(args.threads), "-np", str(SLOTS),
                     "-c", str(SLOTS * SLOT_TOKENS), "-fa", "on", *shlex.split(args.peer_args)]}


class Server:
    """A server process for the length of a `with`."""

    def __init__(self, args, program):
        self.port = free_port()
        self.command = commands(args, self.port)[program]

    def __enter__(self):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.seek(0)
                sys.exit(f"{shlex.join(self.command)} did not start: {self.log.read()[-800:]}")
            time.sleep(0.05)
        return self

    def healthy(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2).status == 200
        except (OSError, urllib.error.URLError):
            return False

    def model(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/models", timeout=10) as reply:
            return json.load(reply)["data"][0]["id"]

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def resident_mb(self, key="VmRSS"):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) / 1000 for line in file if line.startswith(key))


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(p / 100 * len(values)))] if values else float("nan")


def spread(values):
    return {f"p{p}": 1000 * percentile(values, p) for p in (50, 95, 99)}


def summary(args, answers, took, server):
    """What vllm's `bench serve` reports; times in milliseconds."""
    good = [a for a in answers if not a.error]
    n_tokens = sum(a.usage.get("completion_tokens", len(a.times)) for a in good)
    ttft = [a.times[0] for a in good]
    tpot = [(a.times[-1] - a.times[0]) / (len(a.times) - 1) for a in good if len(a.times) > 1]
    within = [a for a in good if 1000 * a.times[0] <= args.ttft and len(a.times) > 1
              and 1000 * (a.times[-1] - a.times[0]) / (len(a.times) - 1) <= args.tpot]
    return {"requests": len(answers), "failed": len(answers) - len(good), "errors": sorted({a.error for a in answers if a.error}),
            "seconds": took, "tokens_per_second": n_tokens / took, "requests_per_second": len(good) / took,
            "goodput": len(within) / took, "ttft_ms": spread(ttft), "tpot_ms": spread(tpot),
            "itl_ms": spread([b - a for answer in good for a, b in zip(answer.times, answer.times[1:])]),
            "e2e_ms": spread([a.seconds for a in good]), "resident_mb": server.resident_mb(),
            "peak_mb": server.resident_mb("VmHWM")}


def measure(args, name, program):
    memory = []
    with Server(args, program) as server:
        n_clients, requests = LOADS[name](server.model())
        asyncio.run(load.run(server.port, 1, [load.body(server.model(), "hello", 4)]))
        seconds = args.seconds if name == "mixed" else None
        answers, took = asyncio.run(load.run(server.port, n_clients, requests, seconds,
                                             lambda at: memory.append((at, server.resident_mb()))))
        result = summary(args, answers, took, server)
        if name == "mixed":
            result["resident_mb_by_minute"] = [round(max(mb for at, mb in memory if at // 60 == minute), 1)
                                               for minute in range(int(took // 60) + 1)
                                               if any(at // 60 == minute for at, _ in memory)]
            result |= same_alone(server, answers, args.alone)
    return result


def same_alone(server, answers, n):
    """How many different requests' answers under load were those of a lone request, of at most n."""
    said = {}
    for answer in answers:
        if not answer.error:
            said.setdefault(json.dumps(answer.request), (answer.request, set()))[1].add(answer.text)
    chosen = list(said.values())[:n]
    alone, _ = asyncio.run(load.run(server.port, 1, [request for request, _ in chosen]))
    same = sum(texts == {answer.text} for (_, texts), answer in zip(chosen, alone))
    return {"compared_alone": len(chosen), "same_alone": same}


def row(name, program, results):
    def middle(*keys):
        values = []
        for value in results:
            for key in keys:
                value = value[key]
            values.append(value)
        return statistics.median(values)
    print(f"{name:8} {program:5} {middle('tokens_per_second'):8.1f} {middle('ttft_ms', 'p50'):8.0f} "
          f"{middle('ttft_ms', 'p95'):8.0f} {middle('tpot_ms', 'p50'):7.1f} {middle('itl_ms', 'p99'):8.1f} "
          f"{middle('e2e_ms', 'p95'):8.0f} {middle('goodput'):8.2f} {middle('resident_mb'):7.0f} "
          f"{sum(r['failed'] for r in results):6d}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hone", default="hone")
    parser.add_argument("--peer", help="llama-server; built in the cache folder when not given")
    parser.add_argument("--programs", default="hone,peer")
    parser.add_argument("--loads", default="four,sixteen,shared", help=", ".join(LOADS))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=600, help="of the load `mixed`")
    parser.add_argument("--alone", type=int, default=32, help="requests of `mixed` that are asked again alone")
    parser.add_argument("--ttft", type=float, default=1000, help="milliseconds that count as good")
    parser.add_argument("--tpot", type=float, default=100)
    parser.add_argument("--hone-args", default="")
    parser.add_argument("--peer-args", default="")
    parser.add_argument("--json", help="keeps every turn's figures")
    parser.add_argument("model")
    args = parser.parse_args()
    programs = args.programs.split(",")
    if "peer" in programs and not args.peer:
        args.peer = llama_cpp.build("llama-server")
    results = {}
    print("load     server tokens/s ttft p50 ttft p95 tpot p50 itl p99  e2e p95  goodput  rss MB failed   (ms)")
    for name in args.loads.split(","):
        for turn in range(args.turns):
            for program in programs if turn % 2 == 0 else programs[::-1]:
                results.setdefault(name, {}).setdefault(program, []).append(measure(args, name, program))
        for program in programs:
            row(name, program, results[name][program])
        for program in programs:
            for result in results[name][program]:
                if result["errors"] or "same_alone" in result:
                    print(f"  {program}: {json.dumps({k: result[k] for k in ('errors', 'same_alone', 'compared_alone', 'resident_mb_by_minute') if k in result})}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
