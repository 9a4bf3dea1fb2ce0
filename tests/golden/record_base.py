#!/usr/bin/env python3
"""Records tests/golden/base.json: what transformers makes of the base model (f32 on its dequantised
GGUF): ids of conversations through the chat template, and logits of a few prompts at chosen tokens.
Usage: record_base.py FOLDER SHARED (the folder with SmolLM2-135M-Instruct.Q4_1.gguf, the shared data)"""
import json
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, shared = sys.argv[1:3]
tokenizer = AutoTokenizer.from_pretrained(os.path.join(shared, "data", "smollm2"))
model = AutoModelForCausalLM.from_pretrained(
    folder, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf", dtype=torch.float32).eval()

CONVERSATIONS = [
    [dict(role="user", content="Turn on the kitchen light.")],
    [dict(role="system", content="Answer in one word."), dict(role="user", content="Capital of Peru?")],
    [dict(role="user", content="Hi"), dict(role="assistant", content="Hello! How can I help?"),
     dict(role="user", content="  What's 12 * 7?\n\n(show work)  ")],
    [dict(role="user", content="Grüße aus Köln 🙂 — naïve café; 東京\t1234567")],
    [dict(role="user", content="")],
]
PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n    if n <",
    "In 1969, Neil Armstrong became the first person to walk on the Moon. He was a member of",
]

out = dict(chats=[], prompts=[])
for messages in CONVERSATIONS:
    for add in (True, False):
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=add, return_dict=False)
        out["chats"].append(dict(messages=messages, add_generation_prompt=add, ids=list(ids)))
for prompt in PROMPTS:
    ids = tokenizer(prompt)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    at = sorted(set(logits[-1].topk(16).indices.tolist()) | set(range(0, 49152, 997)))
    out["prompts"].append(dict(text=prompt, ids=ids, tokens=at,
                               logits=[[round(float(row[t]), 5) for t in at] for row in logits]))
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "base.json")
with open(path, "w", encoding="utf-8") as f:
    json.dump(out, f, ensure_ascii=False, indent=None, separators=(",", ":"))
    f.write("\n")
print(os.path.getsize(path))
