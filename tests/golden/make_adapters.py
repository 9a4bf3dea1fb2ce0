"""Records adapters as PEFT itself writes them, for tests/unit/test_adapter_file.c.

Run: python tests/golden/make_adapters.py   (torch, transformers, peft)
Weights follow a formula that the test knows: A[i] = ((i * 7 + layer) % 13 - 6) / 8 and
B[i] = ((i * 5 + layer) % 11 - 5) / 4, over row-major elements.
"""
import os

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

here = os.path.dirname(os.path.abspath(__file__))
config = LlamaConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                     num_key_value_heads=2, head_dim=4, vocab_size=8)


def fill(model):
    for name, p in model.named_parameters():
        if "lora_" not in name:
            continue
        layer = int(name.split("layers.")[1].split(".")[0])
        i = torch.arange(p.numel())
        v = ((i * 7 + layer) % 13 - 6) / 8 if "lora_A" in name else ((i * 5 + layer) % 11 - 5) / 4
        p.data = v.reshape(p.shape).float()


for name, extra in {
    "plain": dict(target_modules=["q_proj", "k_proj", "down_proj"]),
    "rslora": dict(target_modules=["q_proj"], use_rslora=True),
    "patterns": dict(target_modules=["q_proj", "v_proj"], rank_pattern={"layers.1.self_attn.q_proj": 3},
                     alpha_pattern={"v_proj": 10}),
    "dora": dict(target_modules=["q_proj"], use_dora=True),
}.items():
    model = get_peft_model(LlamaForCausalLM(config),
                           LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=6, **extra))
    fill(model)
    out = os.path.join(here, "adapters", name)
    model.save_pretrained(out)
    os.remove(os.path.join(out, "README.md"))
