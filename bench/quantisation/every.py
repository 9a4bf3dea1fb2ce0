#!/usr/bin/env python3
"""Each Nth golden row in scope, from the first on, and all out of scope: every.py GOLDEN N"""
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    seen = 0
    for line in file:
        outside = json.loads(line).get("slice", "").startswith("out_of_scope")
        if outside or seen % int(sys.argv[2]) == 0:
            sys.stdout.write(line)
        seen += not outside
