#!/usr/bin/env python3
"""Records what transformers + PEFT make of LoRA fine-tuning, for tests/unit/test_sft_golden.c.

    record_sft.py tiny               small random models of each family, into tests/golden/sft/
    record_sft.py base GGUF ROWS     the real base (dequantised) on rows of a gsm8k JSONL file

Needs torch, transformers, peft, safetensors, gguf. The definitions are spec/training.md's: loss =
sum of -log p over the supervised tokens / their number over the whole step, AdamW, linear rate after
warm-up, clipping at 1.0 with the norm before clipping recorded.
"""

import copy
import json
import math
import pathlib
import sys

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (AutoModelForCausalLM, AutoTokenizer, Gemma3ForCausalLM,
                          Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

HERE = pathlib.Path(__file__).resolve().parent
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VOCAB, STEPS, WARMUP = 61, 20, 3


def tiny_models():
    common = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=3,
                  num_attention_heads=4, num_key_value_heads=2, head_dim=8, rms_norm_eps=1e-5,
                  max_position_embeddings=512, attn_implementation="eager", pad_token_id=0)
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    yield "llama", LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, rope_parameters=rope,
                                                **common))
    common.pop("head_dim")
    yield "qwen2", Qwen2ForCausalLM(Qwen2Config(tie_word_embeddings=False, rope_parameters=rope,
                                                **common))
    common["head_dim"] = 8
    yield "qwen3", Qwen3ForCausalLM(Qwen3Config(tie_word_embeddings=True, rope_parameters=rope,
                                                **common))
    yield "gemma3", Gemma3ForCausalLM(Gemma3TextConfig(
        tie_word_embeddings=True, sliding_window=5, query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0},
            "full_attention": rope}, **common))


def recorded_models():
    """The small models with the weights that were recorded."""
    for family, model in tiny_models():
        model.load_state_dict(load_file(HERE / "sft" / family / "model.safetensors"), strict=False)
        model.tie_weights()
        yield family, model


def randomise(model, family):
    """Weights large enough that attention and norms matter."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1:
                p.normal_(0.0, 0.1)
                if "norm" in name and family != "gemma3":  # gemma adds 1 itself
                    p.add_(1.0)
            elif "embed" in name or "lm_head" in name:
                p.normal_(0.0, 0.5)
            else:
                p.normal_(0.0, 1.0 / math.sqrt(p.shape[1]))


def tiny_documents():
    rng = np.random.default_rng(5)
    docs = []
    for i in range(12):
        n = int(rng.integers(12, 40))
        ids = rng.integers(0, VOCAB, n).tolist()
        if i % 3 and docs:
            ids[:8] = docs[0]["ids"][:8]
        start = int(rng.integers(4, n - 2))
        docs.append({"ids": ids, "first_supervised": start})
    return docs


def hash_uniform(layer, module, n):
    """SplitMix64 of (layer * 7 + module) << 32 | i, as a float in [-1, 1)."""
    with np.errstate(over="ignore"):
        z = (np.uint64(layer * 7 + module) << np.uint64(32)) | np.arange(n, dtype=np.uint64)
        z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float32) * np.float32(2.0 ** -23) - np.float32(1.0))


def step_loss(model, docs):
    """Documents one by one (no padding, no packing); the sum over all supervised tokens."""
    total = sum(len(d["ids"]) - d["first_supervised"] for d in docs)
    value = 0.0
    for d in docs:
        ids = torch.tensor([d["ids"]])
        logits = model(input_ids=ids, use_cache=False).logits[0].float()
        at = range(d["first_supervised"], len(d["ids"]))
        picked = logits[[i - 1 for i in at]]
        loss = torch.nn.functional.cross_entropy(picked, ids[0][list(at)], reduction="sum") / total
        if torch.is_grad_enabled():
            loss.backward()
        value += loss.item()
    return value


def train(model, docs, batch, rate):
    params = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(params, lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: s / WARMUP if s < WARMUP else (STEPS - s) / (STEPS - WARMUP))
    losses, norms, rates, grads = [], [], [], None
    for step in range(STEPS):
        first = step * batch % len(docs)
        optimiser.zero_grad()
        rates.append(schedule.get_last_lr()[0])
        losses.append(step_loss(model, docs[first:first + batch]))
        if step == 0:
            grads = {n.replace(".default", ""): p.grad.clone() for n, p in model.named_parameters()
                     if p.requires_grad}
        norms.append(torch.nn.utils.clip_grad_norm_(params, 1.0).item())
        optimiser.step()
        schedule.step()
        print(step, losses[-1], norms[-1], flush=True)
    return {"losses": losses, "norms": norms, "rates": rates}, grads


def record_variant(model, folder, **options):
    peft = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=MODULES,
                                            task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if "lora_B" in name:
                p.normal_(0.0, 0.05)
            elif "magnitude" in name:  # away from the row norms that it starts from
                p.mul_(1 + 0.1 * torch.randn(p.shape))
    peft.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    docs = tiny_documents()
    values, grads = train(peft, docs, 4, 1e-2)
    save_file(grads, folder / "gradients.safetensors")
    golden = {"documents": docs, "batch": 4, "rate": 1e-2, "warmup": WARMUP, **values}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


def record_tiny():
    torch.set_num_threads(1)  # nothing here is worth a second one
    for family, model in tiny_models():
        torch.manual_seed(1)
        folder = HERE / "sft" / family
        folder.mkdir(parents=True, exist_ok=True)
        randomise(model, family)
        tensors = {n: p.detach().clone() for n, p in model.named_parameters()}
        save_file(tensors, folder / "model.safetensors")
        variants = {} if family in ("qwen3", "gemma3") else {
            "rslora": dict(use_rslora=True), "dora": dict(use_dora=True)}
        copies = {variant: copy.deepcopy(model) for variant in variants}
        record_variant(model, folder)
        for variant, options in variants.items():
            torch.manual_seed(2)
            record_variant(copies[variant], HERE / "sft" / f"{family}_{variant}", **options)


def record_base(gguf, rows):
    path = pathlib.Path(gguf)
    torch.set_num_threads(2)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name,
                                                 dtype=torch.float32, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    docs = []
    for line in open(rows):
        row = json.loads(line)
        def encode(text):
            return tokenizer(text, add_special_tokens=False)["input_ids"]
        prompt = ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
                  "Hugging Face<|im_end|>\n<|im_start|>user\n" + row["question"] +
                  "<|im_end|>\n<|im_start|>assistant\n")
        whole = encode(prompt + row["answer"] + "<|im_end|>\n")
        start = len(encode(prompt))
        if len(whole) <= 140:
            docs.append({"ids": whole, "first_supervised": start})
        if len(docs) == 40:
            break
    peft = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=MODULES,
                                            task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if not p.requires_grad:
                continue
            parts = name.split(".")
            layer, module = int(parts[parts.index("layers") + 1]), MODULES.index(parts[-4])
            if "lora_B" in name:
                p.zero_()
            else:
                u = torch.from_numpy(hash_uniform(layer, module, p.numel()))
                p.copy_((u * np.float32(1.0 / math.sqrt(p.shape[1]))).reshape(p.shape))
    values, _ = train(peft, docs, 2, 2e-4)
    golden = {"documents": docs, "batch": 2, "rate": 2e-4, "warmup": WARMUP, **values}
    (HERE / "sft" / "base.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "tiny":
        record_tiny()
    else:
        record_base(sys.argv[2], sys.argv[3])
