#!/usr/bin/env python3
"""Records what PEFT makes of dropout before an adapter, for tests/unit/test_sft_golden.c.

    record_dropout.py      the small models of record_sft.py, into tests/golden/sft/FAMILY_dropout/

Needs torch, transformers, peft, safetensors. PEFT's own layers, in training mode; only where their
torch.nn.Dropout would draw its mask, the mask is hone's: a function of a key, the layer, the module,
the row and the column (src/train/net_rows.c), so that both drop the same values. One document a
step. hone's rows end with the last one that predicts something, and from the last layer's attention
on only rows that predict something exist; no others matter for the loss.
"""

import copy
import json
import warnings

import numpy as np
import torch
from peft import PeftModel
from safetensors.torch import save_file

from record_sft import HERE, MODULES, recorded_models, tiny_documents, train

DROPOUT, BATCH, RATE = np.float32(0.2), 1, 1e-2
CASES = {"llama": "llama", "llama_dora": "llama", "qwen2_dora": "qwen2"}  # adapter: family


def mix(key, counter):
    with np.errstate(over="ignore"):
        z = np.uint64(key) + np.asarray(counter, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (z ^ (z >> np.uint64(31))) >> np.uint64(32)


class KeyedDropout(torch.nn.Module):
    """only_learned: its rows are those that predict something alone (the last layer, behind attention)."""

    def __init__(self, layer, module, only_learned, document):
        super().__init__()
        counter = layer * len(MODULES) + module + 1
        self.key = int(mix(0, counter)) << 32 | int(mix(2**64 - 1, counter))
        self.only_learned, self.document = only_learned, document

    def forward(self, x):
        first = self.document["first_supervised"] - 1 if self.only_learned else 0
        rows, columns = x.shape[-2] - first, x.shape[-1]
        drawn = mix(self.key, np.arange(rows * columns, dtype=np.uint64)).reshape(rows, columns)
        kept = torch.ones(x.shape[-2:])
        kept[first:] = torch.from_numpy(
            (drawn >= np.uint64(float(DROPOUT) * 2.0**32)).astype(np.float32))
        return x * kept * (np.float32(1) / (np.float32(1) - DROPOUT))


class OneByOne:
    """The model as record_sft.train calls it, which tells the masks of the document at hand."""

    def __init__(self, model, document):
        self.model, self.document = model, document

    def __call__(self, input_ids, use_cache):
        self.document["first_supervised"] = self.firsts[tuple(input_ids[0].tolist())]
        return self.model(input_ids=input_ids, use_cache=use_cache)

    def __getattr__(self, name):
        return getattr(self.model, name)


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    bases = dict(recorded_models())
    for adapter, family in CASES.items():
        base = copy.deepcopy(bases[family])
        model = PeftModel.from_pretrained(base, HERE / "sft" / adapter / "adapter",
                                          is_trainable=True).train()
        document, docs = {}, tiny_documents()
        last = base.config.num_hidden_layers - 1
        for name, module in model.named_modules():
            if not hasattr(module, "lora_dropout"):
                continue
            parts = name.split(".")
            layer, kind = int(parts[parts.index("layers") + 1]), MODULES.index(parts[-1])
            module.lora_dropout["default"] = KeyedDropout(layer, kind, layer == last and kind >= 3,
                                                          document)
        one = OneByOne(model, document)
        one.firsts = {tuple(d["ids"]): d["first_supervised"] for d in docs}
        values, grads = train(one, docs, BATCH, RATE)
        folder = HERE / "sft" / f"{adapter}_dropout"
        folder.mkdir(exist_ok=True)
        save_file(grads, folder / "gradients.safetensors")
        golden = {"adapter": adapter, "dropout": float(DROPOUT), "documents": docs, "batch": BATCH,
                  "rate": RATE, "warmup": 3, **values}
        (folder / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
