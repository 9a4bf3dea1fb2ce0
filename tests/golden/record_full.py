#!/usr/bin/env python3
"""Records what transformers makes of training all weights, for tests/unit/test_full.c.

    record_full.py      the small models of record_sft.py, into tests/golden/full.json

Needs torch, transformers, peft, safetensors. Loss, optimiser and rate are record_sft.py's.
"""

import json

from record_sft import HERE, WARMUP, recorded_models, tiny_documents, train

BATCH, RATE = 4, 1e-3


def main():
    golden = {"documents": tiny_documents(), "batch": BATCH, "rate": RATE, "warmup": WARMUP,
              "families": {}}
    for family, model in recorded_models():
        # transformers gives the padding token's embedding no gradient; there is no padding here
        model.get_input_embeddings().padding_idx = None
        values, _ = train(model, golden["documents"], BATCH, RATE)
        golden["families"][family] = values
    (HERE / "full.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
