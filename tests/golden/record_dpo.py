#!/usr/bin/env python3
"""Records what TRL + PEFT make of preference tuning, for tests/unit/test_dpo_golden.c.

    record_dpo.py      the small models of record_sft.py, into tests/golden/dpo.json

Needs torch, transformers, peft, trl, datasets. The loss is TRL's own (DPOTrainer.compute_loss) on
token ids; its reference is the adapter that training starts from, as TRL does it for an adapter that
was there before (an initial copy named "ref"). AdamW, linear rate after warm-up, clipping at 1.0.
"""

import copy
import json
import tempfile

import datasets
import numpy as np
import torch
from peft import PeftModel
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

from record_sft import HERE, STEPS, VOCAB, WARMUP, recorded_models

LOSSES = {"sigmoid": {}, "robust": {"label_smoothing": 0.1}, "ipo": {}}
PAIRS, BATCH, RATE, BETA = 8, 4, 2e-3, 0.1


def pairs():
    rng = np.random.default_rng(6)
    out = []
    for _ in range(PAIRS):
        prompt = rng.integers(0, VOCAB, int(rng.integers(6, 16))).tolist()
        answers = [rng.integers(0, VOCAB, int(rng.integers(3, 14))).tolist() for _ in range(2)]
        out.append({"prompt": prompt, "chosen": answers[0], "rejected": answers[1]})
    return out


def batch_of(some):
    rows = [(p["prompt"], p[side]) for side in ("chosen", "rejected") for p in some]
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    attention, completion = torch.zeros_like(ids), torch.zeros_like(ids)
    for i, (prompt, answer) in enumerate(rows):
        n = len(prompt) + len(answer)
        ids[i, :n] = torch.tensor(prompt + answer)
        attention[i, :n] = 1
        completion[i, len(prompt):n] = 1
    return {"input_ids": ids, "attention_mask": attention, "completion_mask": completion}


def tokenizer():
    vocab = {chr(ord("!") + i): i for i in range(VOCAB)}
    fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocab, "!")))
    fast.pad_token, fast.eos_token = "!", '"'
    return fast


def trainer_of(base, family, kind, options, folder):
    model = PeftModel.from_pretrained(copy.deepcopy(base), HERE / "sft" / family / "adapter",
                                      is_trainable=True)
    config = DPOConfig(output_dir=folder, loss_type=kind, beta=BETA, report_to=[], use_cpu=True,
                       bf16=False, gradient_checkpointing=False, max_length=None, **options)
    rows = datasets.Dataset.from_list([{"prompt": "#", "chosen": "$", "rejected": "%"}])
    return DPOTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer())


def train(trainer, data):
    model = trainer.model
    params = [p for n, p in model.named_parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(params, lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: s / WARMUP if s < WARMUP else (STEPS - s) / (STEPS - WARMUP))
    values = {"losses": [], "norms": [], "rewards/chosen": [], "rewards/rejected": [],
              "rewards/margins": [], "rewards/accuracies": [], "logps/chosen": [],
              "logps/rejected": []}
    model.train()
    for step in range(STEPS):
        first = step * BATCH % len(data)
        optimiser.zero_grad()
        trainer._metrics["train"].clear()
        loss = trainer.compute_loss(model, batch_of(data[first:first + BATCH]))
        loss.backward()
        values["losses"].append(loss.item())
        values["norms"].append(torch.nn.utils.clip_grad_norm_(params, 1.0).item())
        for key in values:
            if "/" in key:
                values[key].append(float(trainer._metrics["train"][key][0]))
        optimiser.step()
        schedule.step()
    print(trainer.args.loss_type, values["losses"][0], values["losses"][-1], flush=True)
    return values


def main():
    golden = {"pairs": pairs(), "batch": BATCH, "rate": RATE, "warmup": WARMUP, "beta": BETA,
              "runs": []}
    for family, base in recorded_models():
        for kind, options in LOSSES.items():
            with tempfile.TemporaryDirectory() as folder:
                trainer = trainer_of(base, family, kind, options, folder)
                golden["runs"].append({"family": family, "loss": kind, **options,
                                       **train(trainer, golden["pairs"])})
    (HERE / "dpo.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
