#!/usr/bin/env python3
"""Makes tests/golden/models: a small random model of each family as transformers writes it, the
logits transformers computes for it in f32, and some of them as GGUF. Needs torch, transformers,
tokenizers, safetensors, gguf. The weights follow from the seed; the files are committed."""
import json
import math
import os
import shutil

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models")
VOCAB, N = 264, 24
IDS = [(i * 37 + 5) % VOCAB for i in range(N)]
COMMON = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
              max_position_embeddings=64, bos_token_id=256, eos_token_id=257, pad_token_id=258)

MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig(
        **COMMON, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)),
    "llama3": (LlamaForCausalLM, LlamaConfig(
        **{**COMMON, "hidden_size": 36}, num_attention_heads=3, num_key_value_heads=1,
        head_dim=16, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=16))),
    "llama_linear": (LlamaForCausalLM, LlamaConfig(
        **COMMON, num_attention_heads=2, num_key_value_heads=2, attention_bias=True,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0))),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(
        **COMMON, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(
        **COMMON, num_attention_heads=4, num_key_value_heads=2, head_dim=12,
        tie_word_embeddings=True)),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig(
        **{**COMMON, "num_hidden_layers": 4}, num_attention_heads=4, num_key_value_heads=1,
        head_dim=16, sliding_window=7, query_pre_attn_scalar=24,
        layer_types=["sliding_attention", "sliding_attention", "full_attention",
                     "sliding_attention"])),
}


def tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate(alphabet)}
    tok = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens(["<|bos|>", "<|eos|>", "<|pad|>"])
    return tok


def randomise(model, seed):
    """Weights large enough that every step matters in the logits."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            if p.ndim == 1:
                base = 0.0 if name.endswith("bias") or "Gemma3" in type(model).__name__ else 1.0
                p.copy_(base + 0.3 * noise)
            else:
                p.copy_(noise * (1.0 if "embed" in name else 2.0) / math.sqrt(p.shape[1]))


def permute(w, n_head):
    """Rows of q and k from halves to pairs, as llama.cpp's converter has it."""
    return (w.reshape(n_head, 2, w.shape[0] // n_head // 2, *w.shape[1:])
            .swapaxes(1, 2).reshape(w.shape))


def write_gguf(path, arch, config, state):
    w = gguf.GGUFWriter(path, arch)
    w.add_block_count(config.num_hidden_layers)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    w.add_head_count_kv(config.num_key_value_heads)
    w.add_key_length(config.head_dim)
    w.add_value_length(config.head_dim)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    w.add_rope_dimension_count(config.head_dim)
    rope = config.rope_parameters
    if arch == "gemma3":
        w.add_sliding_window(config.sliding_window)
        w.add_uint32("gemma3.attention.sliding_window_pattern", 3)
        w.add_float32("gemma3.attention.scale", config.query_pre_attn_scalar ** -0.5)
        rope = rope["full_attention"]
    w.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "llama3":
        factors = llama3_factors(config, rope)
        w.add_tensor("rope_freqs.weight", np.array(factors, dtype=np.float32))
    texts = sorted(pre_tokenizers.ByteLevel.alphabet()) + ["<|bos|>", "<|eos|>", "<|pad|>"]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(texts)
    w.add_token_types([1] * 256 + [3] * 3)
    w.add_bos_token_id(256)
    w.add_eos_token_id(257)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], config.num_hidden_layers)
    for name, p in state.items():
        out = names.get_name(name, try_suffixes=(".weight", ".bias"))
        x = p.float().numpy()
        if arch == "llama" and ".q_proj." in name:
            x = permute(x, config.num_attention_heads)
        if arch == "llama" and ".k_proj." in name:
            x = permute(x, config.num_key_value_heads)
        if arch == "gemma3" and name.endswith("norm.weight"):
            x = x + 1
        w.add_tensor(out, np.ascontiguousarray(x))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def llama3_factors(config, rope):
    out = []
    for i in range(config.head_dim // 2):
        freq = rope["rope_theta"] ** (-2.0 * i / config.head_dim)
        length = 2 * math.pi / freq
        original = rope["original_max_position_embeddings"]
        if length < original / rope["high_freq_factor"]:
            out.append(1.0)
        elif length > original / rope["low_freq_factor"]:
            out.append(rope["factor"])
        else:
            smooth = (original / length - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"])
            out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return out


def make_lora(base):
    """A LoRA with both matrices random on every linear layer of the llama3 model, and the logits
    PEFT computes with it."""
    from peft import LoraConfig, get_peft_model
    folder = os.path.join(OUT, "llama3_lora")
    torch.manual_seed(7)
    model = get_peft_model(base, LoraConfig(
        r=3, lora_alpha=6, target_modules="all-linear", init_lora_weights=False))
    model.peft_config["default"].base_model_name_or_path = "llama3"
    model.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))
    with torch.no_grad():
        logits = model.eval()(torch.tensor([IDS])).logits[0].numpy()
    np.save(os.path.join(folder, "logits.npy"), logits.astype(np.float32))
    print("llama3_lora logits", logits.std())


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    for seed, (name, (cls, config)) in enumerate(MODELS.items()):
        folder = os.path.join(OUT, name)
        model = cls(config).eval()
        randomise(model, seed)
        model.to(torch.bfloat16).save_pretrained(folder)
        tokenizer().save(os.path.join(folder, "tokenizer.json"))
        with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
            json.dump(dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<|bos|>",
                           eos_token="<|eos|>", pad_token="<|pad|>"), f, indent=1)
        model = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            logits = model(torch.tensor([IDS])).logits[0].numpy()
        np.save(os.path.join(folder, "logits.npy"), logits.astype(np.float32))
        if name in ("llama3", "gemma3"):
            state = {k: v for k, v in model.state_dict().items()
                     if not (k == "lm_head.weight" and config.tie_word_embeddings)}
            write_gguf(os.path.join(OUT, name + ".gguf"), name.rstrip("3") if name == "llama3"
                       else name, model.config, state)
            if name == "llama3":
                make_lora(model)
        print(name, "logits", logits.std(), os.listdir(folder))


main()
