#!/usr/bin/env python3
"""Records what torch, transformers + PEFT and TRL make of distillation, for tests/unit/test_kd.c.

    record_kd.py EXAMPLE     EXAMPLE: kd_worked_example.json; the rest into tests/golden/kd.json

Needs torch, transformers, peft, trl. Three things: the worked example, recomputed here and compared;
divergences of rows of logits with their gradients, by TRL's GKDTrainer.generalized_jsd_loss, and a
hidden-state term through a projection; runs of the small models of record_sft.py, one taught by
another, with loss = alpha T^2 KL + (1 - alpha) cross-entropy + gamma * hidden MSE over all layers.
"""

import copy
import json
import sys

import numpy as np
import torch
import torch.nn.functional as F
from peft import PeftModel
from trl.experimental.gkd import GKDTrainer

from record_dpo import pairs
from record_sft import HERE, STEPS, VOCAB, WARMUP, recorded_models

BATCH, RATE, ALPHA, TEMPERATURE, GAMMA = 4, 2e-3, 0.7, 2.0, 0.2
TAUGHT = {"llama": "qwen3", "qwen2": "gemma3", "gemma3": "llama"}


def soft_term(student, teacher, temperature):
    """Sum over rows of T^2 KL(teacher || student)."""
    return temperature**2 * F.kl_div(F.log_softmax(student / temperature, -1),
                                     F.log_softmax(teacher / temperature, -1),
                                     reduction="sum", log_target=True)


def check_example(example):
    student = torch.tensor(example["student_logits"], requires_grad=True)
    hidden = torch.tensor(example["student_hidden"], requires_grad=True)
    hard = F.cross_entropy(student, torch.tensor(example["labels"]))
    soft = soft_term(student, torch.tensor(example["teacher_logits"]),
                     example["temperature"]) / len(student)
    mse = F.mse_loss(hidden, torch.tensor(example["teacher_hidden"]))
    weights = example["weights"]
    (weights["hard"] * hard + weights["soft"] * soft + weights["hidden"] * mse).backward()
    for ours, key in ((hard, "hard"), (soft, "soft_times_t2"), (mse, "hidden_mse")):
        assert abs(ours.item() - example[key]) < 1e-6, (key, ours.item())
    for ours, key in ((student.grad, "grad_student_logits"), (hidden.grad, "grad_student_hidden")):
        assert np.abs(ours.numpy() - np.array(example[key])).max() < 1e-6, key


def divergences():
    torch.manual_seed(3)
    rows, width = 3, 37
    student = (2 * torch.randn(rows, width, dtype=torch.float64)).requires_grad_()
    teacher = 2 * torch.randn(rows, width, dtype=torch.float64)
    out = {"student": student.tolist(), "teacher": teacher.tolist(), "cases": []}
    for beta in (0.0, 0.1, 0.5, 0.9, 1.0):
        for temperature in (0.9, 2.0):
            student.grad = None
            loss = GKDTrainer.generalized_jsd_loss(student, teacher, beta=beta,
                                                   temperature=temperature, reduction="sum")
            loss.backward()
            out["cases"].append({"beta": beta, "temperature": temperature, "value": loss.item(),
                                 "gradient": student.grad.tolist()})
    return out


def projected():
    torch.manual_seed(4)
    rows, dim, teacher_dim, weight = 5, 6, 9, 0.125
    student = torch.randn(rows, dim, dtype=torch.float64, requires_grad=True)
    projection = torch.randn(teacher_dim, dim, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(rows, teacher_dim, dtype=torch.float64)
    value = weight * ((student @ projection.T - teacher) ** 2).sum()
    value.backward()
    return {"weight": weight, "student": student.tolist(), "projection": projection.tolist(),
            "teacher": teacher.tolist(), "value": value.item(),
            "grad_student": student.grad.tolist(), "grad_projection": projection.grad.tolist()}


def terms(model, teacher, rows):
    """Cross-entropy, soft term and hidden MSE, each over all supervised tokens of the rows."""
    ce = kd = hidden = 0.0
    supervised = sum(len(row["chosen"]) for row in rows)
    for row in rows:
        ids = torch.tensor([row["prompt"] + row["chosen"]])
        ours = model(input_ids=ids, output_hidden_states=True)
        with torch.no_grad():
            theirs = teacher(input_ids=ids, output_hidden_states=True)
        at = slice(len(row["prompt"]) - 1, ids.shape[1] - 1)
        ce = ce + F.cross_entropy(ours.logits[0, at], ids[0, len(row["prompt"]):], reduction="sum")
        kd = kd + soft_term(ours.logits[0, at], theirs.logits[0, at], TEMPERATURE)
        for a, b in zip(ours.hidden_states[1:], theirs.hidden_states[1:]):
            hidden = hidden + ((a[0, at] - b[0, at]) ** 2).mean(-1).sum()
    layers = teacher.config.num_hidden_layers
    return ce / supervised, kd / supervised, hidden / supervised / layers


def train(base, family, teacher, data):
    model = PeftModel.from_pretrained(copy.deepcopy(base), HERE / "sft" / family / "adapter",
                                      is_trainable=True)
    params = [p for n, p in model.named_parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(params, lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: s / WARMUP if s < WARMUP else (STEPS - s) / (STEPS - WARMUP))
    values = {"loss": [], "grad_norm": [], "ce": [], "kd": [], "hidden": []}
    for step in range(STEPS):
        first = step * BATCH % len(data)
        optimiser.zero_grad()
        ce, kd, hidden = terms(model, teacher, data[first:first + BATCH])
        loss = ALPHA * kd + (1 - ALPHA) * ce + GAMMA * hidden
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(params, 1.0)
        for key, value in zip(values, (loss, norm, ce, kd, hidden)):
            values[key].append(value.item())
        optimiser.step()
        schedule.step()
    print(family, values["loss"][0], values["loss"][-1], flush=True)
    return values


def main():
    example = json.load(open(sys.argv[1]))
    check_example(example)
    models = {family: base.eval() for family, base in recorded_models()}
    golden = {"example": example, "divergences": divergences(), "projected": projected(),
              "rows": pairs(), "batch": BATCH, "rate": RATE, "warmup": WARMUP, "alpha": ALPHA,
              "temperature": TEMPERATURE, "hidden": GAMMA, "runs": []}
    for family, teacher in TAUGHT.items():
        golden["runs"].append({"family": family, "teacher": teacher,
                               "steps": train(models[family], family, models[teacher],
                                              golden["rows"])})
    (HERE / "kd.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
