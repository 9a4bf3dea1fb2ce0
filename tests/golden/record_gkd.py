#!/usr/bin/env python3
"""Records whole runs of TRL's GKDTrainer, for tests/unit/test_gkd.c.

    record_gkd.py      the small models of record_sft.py, into tests/golden/gkd.json

Needs torch, transformers, peft, trl, datasets. trainer.train() itself: rows in order, loss and
gradient norm of every step as the trainer has them. With lmbda 0 the rows' own completions are
learned; with lmbda 1 the student's own, sampled by the trainer and recorded here, so that the same
can be given to another program.
"""

import copy
import json
import tempfile

import datasets
import torch
from peft import PeftModel
from transformers import TrainerCallback
from trl.experimental.gkd import GKDConfig, GKDTrainer

from record_dpo import BATCH, RATE, pairs, tokenizer
from record_sft import HERE, STEPS, VOCAB, WARMUP, recorded_models

RUNS = [  # family, teacher, beta, lambda
    ("llama", "qwen3", 0.0, 0.0), ("llama", "qwen3", 0.5, 0.0), ("llama", "qwen3", 1.0, 0.0),
    ("qwen2", "gemma3", 0.0, 0.0), ("qwen2", "gemma3", 0.5, 0.0), ("qwen2", "gemma3", 1.0, 0.0),
    ("gemma3", "llama", 0.5, 0.0), ("llama", "qwen3", 0.5, 1.0), ("qwen2", "gemma3", 1.0, 1.0),
]
NEW_TOKENS, END = 12, VOCAB - 1


def collate(rows):
    """Prompts padded on the left, whole rows on the right, as the trainer's own collator has it."""
    width = max(len(r["prompt"]) + len(r["chosen"]) for r in rows)
    prompt_width = max(len(r["prompt"]) for r in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    prompts = torch.zeros(len(rows), prompt_width, dtype=torch.long)
    out = {"input_ids": ids, "attention_mask": torch.zeros_like(ids),
           "labels": torch.full_like(ids, -100), "prompts": prompts,
           "prompt_attention_mask": torch.zeros_like(prompts)}
    for i, row in enumerate(rows):
        before, n = len(row["prompt"]), len(row["prompt"]) + len(row["chosen"])
        ids[i, :n] = torch.tensor(row["prompt"] + row["chosen"])
        out["attention_mask"][i, :n] = 1
        out["labels"][i, before:n] = ids[i, before:n]
        prompts[i, prompt_width - before:] = torch.tensor(row["prompt"])
        out["prompt_attention_mask"][i, prompt_width - before:] = 1
    return out


class Recorded(GKDTrainer):
    """Keeps what is learned and what comes of it; rows in their order."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        for ids, mask, labels in zip(inputs["input_ids"], inputs["attention_mask"],
                                     inputs["labels"]):
            self.learned.append({"prompt": ids[(mask == 1) & (labels == -100)].tolist(),
                                 "chosen": ids[(mask == 1) & (labels != -100)].tolist()})
        # the trainer counts the tokens of the rows that it was given, not of those it has sampled
        tokens = (inputs["labels"] != -100).sum()
        assert self.lmbda == 1 or tokens == num_items_in_batch
        loss = super().compute_loss(model, inputs, return_outputs, tokens)
        self.losses.append(loss.item())
        return loss

    def _get_train_sampler(self, dataset=None):
        return torch.utils.data.SequentialSampler(self.train_dataset)


class Norms(TrainerCallback):
    def __init__(self):
        self.norms = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "grad_norm" in logs:
            self.norms.append(float(logs["grad_norm"]))


def train(base, teacher, family, beta, share, rows):
    torch.manual_seed(7)
    model = PeftModel.from_pretrained(copy.deepcopy(base), HERE / "sft" / family / "adapter",
                                      is_trainable=True)
    model.generation_config.eos_token_id = END
    norms = Norms()
    with tempfile.TemporaryDirectory() as folder:
        config = GKDConfig(
            output_dir=folder, beta=beta, lmbda=share, temperature=1.0, max_new_tokens=NEW_TOKENS,
            max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=RATE,
            warmup_steps=WARMUP, lr_scheduler_type="linear", weight_decay=0.0, max_grad_norm=1.0,
            logging_steps=1, save_strategy="no", report_to=[], use_cpu=True, bf16=False,
            gradient_checkpointing=False, disable_tqdm=True, remove_unused_columns=False)
        trainer = Recorded(model=model, teacher_model=copy.deepcopy(teacher), args=config,
                           data_collator=collate, train_dataset=datasets.Dataset.from_list(rows),
                           processing_class=tokenizer(), callbacks=[norms])
        trainer.losses, trainer.learned = [], []
        trainer.train()
    print(family, beta, share, trainer.losses[0], trainer.losses[-1], norms.norms[:2], flush=True)
    return {"losses": trainer.losses, "norms": norms.norms,
            **({"rows": trainer.learned} if share else {})}


def main():
    torch.set_num_threads(1)
    models = {family: base.eval() for family, base in recorded_models()}
    rows = pairs()
    golden = {"rows": rows, "batch": BATCH, "rate": RATE, "warmup": WARMUP, "runs": []}
    for family, teacher, beta, share in RUNS:
        run = train(models[family], models[teacher], family, beta, share, rows)
        assert len(run["losses"]) == len(run["norms"]) == STEPS
        golden["runs"].append({"family": family, "teacher": teacher, "beta": beta,
                               "sampled": share > 0, **run})
    (HERE / "gkd.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
