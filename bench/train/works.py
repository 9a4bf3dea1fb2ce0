"""The works that hone and TRL are compared on: rows for each, from the shared data."""
import itertools
import json
import os
import random

DENSE = {"rows": 4, "tokens": 256, "learned": 64}
SYSTEM = ("You route requests. Answer with the name of the one intent that the request of the user has, "
          "in lower case with underscores, or with oos when it has none of them.")


def head(path, n):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in itertools.islice(file, n)]


def chat(prompt, completion):
    return {"prompt": [{"role": "user", "content": prompt}], "completion": [{"role": "assistant", "content": completion}]}


def dense(_data, n):
    """For TRL alone; bench-train makes its own documents of this shape."""
    rng = random.Random(1)
    mask = [0] * (DENSE["tokens"] - DENSE["learned"]) + [1] * DENSE["learned"]
    return [{"input_ids": [rng.randrange(3, 49152) for _ in mask], "completion_mask": mask} for _ in range(n)]


def gsm8k(data, n):
    return [chat(row["question"], row["answer"]) for row in head(os.path.join(data, "gsm8k", "train.jsonl"), n)]


def shuffled(path, n):
    """Rows as training takes them: in these files those that are alike stand together."""
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    random.Random(150).shuffle(rows)
    return rows[:n]


def clinc150(data, n):
    """One system prompt for all."""
    rows = [chat(row["text"], row["intent"]) for row in shuffled(os.path.join(data, "clinc150", "train.jsonl"), n)]
    for row in rows:
        row["prompt"].insert(0, {"role": "system", "content": SYSTEM})
    return rows


def oasst1(data, n):
    """Pairs; a completion is a message, as in the prompt."""
    rows = shuffled(os.path.join(data, "oasst1", "preferences.jsonl"), n)
    return [{"prompt": row["prompt"], **{side: [{"role": "assistant", "content": row[side]}]
                                         for side in ("chosen", "rejected")}} for row in rows]


# name: rows a step, how many steps each program makes (TRL's are long), where the rows come from; whether they are
# preferences, and how often the steps' rows are gone over
WORKS = {
    "dense": {"batch": DENSE["rows"], "steps": {"hone": 4, "trl": 3}, "rows": dense},
    "gsm8k": {"batch": 8, "steps": {"hone": 3, "trl": 2}, "rows": gsm8k},
    "clinc150-8": {"batch": 8, "steps": {"hone": 6, "trl": 4}, "rows": clinc150},
    "clinc150-32": {"batch": 32, "steps": {"hone": 4, "trl": 3}, "rows": clinc150},
    "dpo": {"batch": 2, "steps": {"hone": 3, "trl": 3}, "rows": oasst1, "pairs": True},
    "dpo-4": {"batch": 4, "steps": {"hone": 3, "trl": 2}, "rows": oasst1, "pairs": True},
    # As long as TRL trains by itself: hone computes the reference in the first epoch alone.
    "dpo-epochs": {"batch": 2, "steps": {"hone": 3, "trl": 3}, "rows": oasst1, "pairs": True, "epochs": 3},
}
