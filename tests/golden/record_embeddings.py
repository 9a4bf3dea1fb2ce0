#!/usr/bin/env python3
"""Records tests/golden/embeddings.json: the mean over a text's tokens of the last hidden state after
the final norm, as transformers computes it in f32 for the small models of tests/golden/models.
Needs torch, transformers, tokenizers."""
import json
import os

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = ["Switch on the lamp", "zu dunkel, café", "x", "Fünf Wörter, dann noch ein paar mehr bis fast zum Rand."]
rows = []
for name in ("llama", "llama3", "llama_linear", "qwen2", "qwen3", "gemma3"):
    folder = os.path.join(HERE, "models", name)
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        assert len(ids) <= 64, len(ids)
        with torch.no_grad():
            hidden = model.model(torch.tensor([ids])).last_hidden_state[0]
        rows.append(dict(model=name, text=text, n_tokens=len(ids),
                         mean=[float(f"{x:.8g}") for x in hidden.double().mean(0)]))
with open(os.path.join(HERE, "embeddings.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n")
print(len(rows), "rows")
