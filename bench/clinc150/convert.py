"""CLINC150 as hone's rows: train.jsonl, held_out.jsonl (to set the threshold) and golden.jsonl.

Usage: convert.py SHARED_DATA OUT

Of the 15,000 in-scope and 100 out-of-scope training rows, 5 an intent and 30 out-of-scope ones are
held out. The training rows have few requests that are out of scope, so those are repeated, and
questions of other public sets (Dolly, QED) written as CLINC's are, in lower case without
punctuation, stand beside them as out of scope. The validation rows are the golden set; none of
them is trained on.
"""

import collections
import json
import pathlib
import random
import re
import sys

OUT_OF_SCOPE = "oos"  # the data's own name
HELD_OUT_OF_INTENT = 5
HELD_OUT_OF_SCOPE = 30
REPEATS = 5  # of each out-of-scope row that is trained on
QUESTION_WORDS = range(4, 16)  # CLINC's requests are this long
QUESTIONS = 900


def read_jsonl(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def as_request(text):
    """A question as CLINC would write it, or None if it is too long or too short."""
    text = re.sub(r"[^a-z0-9' ]", "", text.strip().lower())
    return text if len(text.split()) in QUESTION_WORDS else None


def other_questions(data):
    """Questions that are nobody's intent here, from sets made for other ends."""
    dolly = [row["instruction"] for row in read_jsonl(data / "dolly15k/rows.jsonl") if not row["context"]]
    qed = [row["question_text"] for row in read_jsonl(data / "qed/dev-half.jsonl")]
    return [text for text in map(as_request, dolly + qed) if text]


def write(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def training_row(row):
    return {
        "messages": [
            {"role": "user", "content": row["text"]},
            {"role": "assistant", "content": row["intent"]},
        ]
    }


def golden_row(row):
    return {
        "prompt": row["text"],
        "assert": [{"type": "equals", "value": row["intent"]}],
        "slice": "out_of_scope" if row["intent"] == OUT_OF_SCOPE else "in_scope",
    }


def main():
    data, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(150)
    rows = read_jsonl(data / "clinc150/train.jsonl")
    rng.shuffle(rows)
    seen = collections.Counter()
    train, held_out = [], []
    for row in rows:
        unknown = row["intent"] == OUT_OF_SCOPE
        keep = HELD_OUT_OF_SCOPE if unknown else HELD_OUT_OF_INTENT
        if seen[row["intent"]] < keep:
            held_out.append(row)
        else:
            train += [row] * (REPEATS if unknown else 1)
        seen[row["intent"]] += 1
    questions = other_questions(data)
    rng.shuffle(questions)
    train += [{"text": text, "intent": OUT_OF_SCOPE} for text in questions[:QUESTIONS]]
    rng.shuffle(train)
    write(out / "train.jsonl", map(training_row, train))
    write(out / "held_out.jsonl", map(golden_row, held_out))
    write(out / "golden.jsonl", map(golden_row, read_jsonl(data / "clinc150/val.jsonl")))
    print(f"{len(train)} training rows, {len(held_out)} held out", file=sys.stderr)


if __name__ == "__main__":
    main()
