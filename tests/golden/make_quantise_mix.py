"""Records which type llama-quantize gives each tensor, for tests/unit/test_quantise.c.

Run: python tests/golden/make_quantise_mix.py LLAMA_QUANTIZE MODEL.gguf...   (gguf, numpy)
Each MODEL is a float GGUF; besides, a synthetic llama of 10 layers, 256 wide, untied, is made. Lines
hold: model, layers, tied, ftype, tensor, rows, columns, type. Tensors of one row are left out, and
of each kind only those layers where the mixes differ matter, so every layer is kept.
"""
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np

FTYPES = "f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q4_k_s q4_k_m q5_k_m q6_k".split()


def synthetic(path):
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(10), w.add_context_length(64), w.add_embedding_length(256)
    w.add_feed_forward_length(512), w.add_head_count(4), w.add_head_count_kv(2)
    w.add_layer_norm_rms_eps(1e-5), w.add_rope_freq_base(10000.0), w.add_vocab_size(32)
    w.add_tokenizer_model("gpt2"), w.add_tokenizer_pre("default")
    w.add_token_list([f"t{i}" for i in range(32)]), w.add_token_types([1] * 32), w.add_token_merges([])
    rng = np.random.default_rng(0)
    add = lambda n, *s: w.add_tensor(n, rng.standard_normal(s).astype(np.float32))
    add("token_embd.weight", 32, 256), add("output.weight", 32, 256), add("output_norm.weight", 256)
    for i in range(10):
        for n, s in dict(attn_norm=(256,), ffn_norm=(256,), attn_q=(256, 256), attn_k=(128, 256),
                         attn_v=(128, 256), attn_output=(256, 256), ffn_gate=(512, 256),
                         ffn_up=(512, 256), ffn_down=(256, 512)).items():
            add(f"blk.{i}.{n}.weight", *s)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


tool, models = sys.argv[1], sys.argv[2:]
here = os.path.dirname(os.path.abspath(__file__))
with tempfile.TemporaryDirectory() as tmp, open(os.path.join(here, "quantise_mix.txt"), "w") as out:
    synthetic(os.path.join(tmp, "synthetic.gguf"))
    for path in [os.path.join(tmp, "synthetic.gguf")] + models:
        for ftype in FTYPES:
            to = os.path.join(tmp, "q.gguf")
            subprocess.run([tool, path, to, ftype, "2"], check=True, capture_output=True)
            r = gguf.GGUFReader(to)
            layers = r.get_field("llama.block_count").contents()
            tied = not any(t.name == "output.weight" for t in r.tensors)
            name = os.path.basename(path).split(".")[0]
            for t in r.tensors:
                shape = [int(x) for x in t.shape]
                if len(shape) == 2 and (ftype in ("q4_k_s", "q4_k_m", "q5_k_m") or "blk" not in t.name
                                        or t.name.startswith("blk.0.")):
                    print(name, layers, int(tied), ftype, t.name, shape[1], shape[0],
                          t.tensor_type.name.lower(), file=out)
