"""What tests of servers print and clean up: a TAP line for each check, a folder for their files."""
import atexit
import os
import shutil
import sys
import tempfile

SLOW = float(os.environ.get("HONE_TEST_SLOW", "1"))  # a machine's slowness: time limits times this
work = tempfile.mkdtemp()
atexit.register(shutil.rmtree, work, ignore_errors=True)
counts = [0, 0]


def check(name, good, *why):
    counts[0] += 1
    if good:
        print(f"ok {counts[0]} - {name}", flush=True)
    else:
        counts[1] += 1
        print(f"not ok {counts[0]} - {name}", flush=True)
        for line in why:
            print(f"#   {line!r}"[:900], flush=True)


def skip(name, why):
    counts[0] += 1
    print(f"ok {counts[0]} - {name} # SKIP {why}", flush=True)


def finish():
    print(f"1..{counts[0]}", flush=True)
    sys.exit(counts[1] > 0)
