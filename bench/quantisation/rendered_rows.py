#!/usr/bin/env python3
"""Training rows as text, as the chat template makes it, spread over the file: rendered_rows.py HONE MODEL ROWS SYSTEM"""
import json
import subprocess
import sys

N_ROWS = 300


def main():
    hone, model, path, system = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row in rows[:: max(1, len(rows) // N_ROWS)]:
        messages = row.get("messages") or [{"role": "user", "content": row["prompt"]},
                                           {"role": "assistant", "content": row["completion"]}]
        if system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": system}] + messages
        sys.stdout.write(subprocess.run([hone, "render", model, "--no-generation-prompt"], input=json.dumps(messages),
                                        capture_output=True, text=True, check=True).stdout)


main()
