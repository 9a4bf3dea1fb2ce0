"""Checks constrained samples: each line of standard input is {"schema": index, "text": ...}; the schemas are in the
file that the first argument names. Prints TAP lines, one a schema."""
import collections
import datetime
import json
import sys

import jsonschema

with open(sys.argv[1]) as file:
    cases = json.load(file)
validators = [
    jsonschema.Draft202012Validator(case["schema"], format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    for case in cases
]
good, bad, distinct = collections.Counter(), {}, collections.defaultdict(set)


def dates(value):
    """The package checks date-time and time only where further packages are installed."""
    if isinstance(value, dict) and "at" in value:
        datetime.datetime.fromisoformat(value["at"].replace("Z", "+00:00"))
    if isinstance(value, dict) and "time" in value:
        datetime.time.fromisoformat(value["time"].replace("Z", "+00:00"))


for line in sys.stdin:
    sample = json.loads(line)
    index, text = sample["schema"], sample["text"]
    try:
        value = json.loads(text)
        validators[index].validate(value)
        dates(value)
        good[index] += 1
        distinct[index].add(text)
    except (ValueError, jsonschema.ValidationError) as error:
        bad.setdefault(index, f"{text!r}: {str(error).splitlines()[0]}")
for index, case in enumerate(cases):
    failed = index in bad or not good[index]
    print("not ok" if failed else "ok", index + 1, "-", f"{case['name']}: {good[index]} samples validate, "
          f"{len(distinct[index])} different")
    if failed:
        print("#  ", bad.get(index, "there are no samples"))
print(f"# {sum(good.values())} samples validate, {len(bad)} schemas have some that don't")
print(f"1..{len(cases)}")
sys.exit(1 if bad or len(good) < len(cases) else 0)
