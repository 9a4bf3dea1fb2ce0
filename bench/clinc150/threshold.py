"""The limit below which an answer counts as out of scope, from held-out rows.

Usage: threshold.py SAMPLES     (what `hone eval --samples` wrote)

The highest limit that takes back at most MAX_LOSS of the in-scope answers that were right.
"""

import json
import math
import sys

MAX_LOSS = 0.0025


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    in_scope = [row for row in rows if row["slice"] == "in_scope"]
    unknown = [row for row in rows if row["slice"] == "out_of_scope"]
    right = sorted(math.exp(row["log_prob"]) for row in in_scope if row["passed"])
    limit = right[math.floor(MAX_LOSS * len(in_scope))]
    kept = sum(p >= limit for p in right)
    found = sum(row["passed"] or math.exp(row["log_prob"]) < limit for row in unknown)
    print(
        f"held out: in scope {len(right) / len(in_scope):.3f}, with the limit {kept / len(in_scope):.3f}; "
        f"out of scope {sum(row['passed'] for row in unknown)} of {len(unknown)}, with it {found}",
        file=sys.stderr,
    )
    print(f"{limit:.6f}")


if __name__ == "__main__":
    main()
