#!/usr/bin/env python3
"""Records what torch + PEFT make of MiniLLM's loss, for tests/unit/test_minillm.c.

    record_minillm.py      the small models of record_sft.py, into tests/golden/sft/FAMILY_minillm/

Needs torch, transformers, peft, safetensors. TRL 1.16 has no MiniLLMTrainer any more; the definition
is that of the last one: rewards log p_teacher - log p_student at kd_temperature, advantages their
discounted sums over the rest of the completion divided by the discounted length, a policy gradient
of them at the sampling temperature divided by the tokens of the batch (num_generations' group
advantage being 0 without a reward function), and single_step times KL(student || teacher). The
advantage is detached. One small model is taught by another, on given completions.
"""

import copy
import json

import torch
import torch.nn.functional as F
from peft import PeftModel
from safetensors.torch import save_file

from record_sft import HERE, STEPS, WARMUP, recorded_models, tiny_documents

BATCH, RATE = 4, 2e-3
CASES = {  # family: teacher and options
    "llama": ("qwen3", dict(gamma=1.0, single_step=1.0, temperature=1.0, sample_temperature=0.9)),
    "qwen2": ("gemma3", dict(gamma=0.0, single_step=1.0, temperature=1.0, sample_temperature=1.0)),
    "gemma3": ("llama", dict(gamma=0.9, single_step=0.5, temperature=1.5, sample_temperature=1.0)),
    "qwen3": ("qwen2", dict(gamma=1.0, single_step=0.0, temperature=1.0, sample_temperature=1.0)),
}


def advantages(rewards, gamma):
    if gamma == 0:
        return rewards
    power = gamma ** torch.arange(len(rewards))
    def rest(x):
        return (x * power).flip(0).cumsum(0).flip(0)
    return rest(rewards) / rest(torch.ones_like(rewards))


def document_loss(model, teacher, doc, options):
    """Sum over the completion's tokens."""
    ids, first = torch.tensor([doc["ids"]]), doc["first_supervised"]
    ours = model(input_ids=ids).logits[0, first - 1:-1]
    with torch.no_grad():
        theirs = teacher(input_ids=ids).logits[0, first - 1:-1]
    labels = ids[0, first:].unsqueeze(-1)
    log_s = F.log_softmax(ours / options["temperature"], -1)
    log_t = F.log_softmax(theirs / options["temperature"], -1)
    advantage = advantages((log_t - log_s).gather(-1, labels)[:, 0].detach(), options["gamma"])
    policy = F.log_softmax(ours / options["sample_temperature"], -1).gather(-1, labels)[:, 0]
    gradient = -(advantage * torch.exp(policy - policy.detach())).sum()
    kl = F.kl_div(log_t, log_s, reduction="sum", log_target=True)
    return gradient + options["single_step"] * kl


def train(model, teacher, docs, options):
    params = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(params, lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: s / WARMUP if s < WARMUP else (STEPS - s) / (STEPS - WARMUP))
    losses, norms, rates, grads = [], [], [], None
    for step in range(STEPS):
        first = step * BATCH % len(docs)
        batch = docs[first:first + BATCH]
        tokens = sum(len(d["ids"]) - d["first_supervised"] for d in batch)
        optimiser.zero_grad()
        loss = sum(document_loss(model, teacher, d, options) for d in batch) / tokens
        loss.backward()
        if step == 0:
            grads = {n.replace(".default", ""): p.grad.clone() for n, p in model.named_parameters()
                     if p.requires_grad}
        losses.append(loss.item())
        rates.append(schedule.get_last_lr()[0])
        norms.append(torch.nn.utils.clip_grad_norm_(params, 1.0).item())
        optimiser.step()
        schedule.step()
    print(losses[0], losses[-1], flush=True)
    return {"losses": losses, "norms": norms, "rates": rates}, grads


def main():
    torch.set_num_threads(1)
    models = {family: base.eval() for family, base in recorded_models()}
    for family, (teacher, options) in CASES.items():
        model = PeftModel.from_pretrained(copy.deepcopy(models[family]),
                                          HERE / "sft" / family / "adapter", is_trainable=True)
        docs = tiny_documents()
        values, grads = train(model, models[teacher], docs, options)
        folder = HERE / "sft" / f"{family}_minillm"
        folder.mkdir(exist_ok=True)
        save_file(grads, folder / "gradients.safetensors")
        golden = {"teacher": teacher, **options, "documents": docs, "batch": BATCH, "rate": RATE,
                  "warmup": WARMUP, **values}
        (folder / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
