"""Records blocks.txt: random blocks of every GGUF block type and what gguf.quants.dequantize makes of
them. One line a type: name, the blocks in hex, the f32 values in hex (little-endian)."""
import pathlib

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGML_QUANT_SIZES
from gguf.quants import dequantize

# Where the f16 scales of a block stand; random bytes there would often be infinite or NaN.
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82],
          T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0]}


def main():
    rng = np.random.default_rng(20240607)
    out = []
    for dtype, halves in HALVES.items():
        values, size = GGML_QUANT_SIZES[dtype]
        n = 6 if values == 32 else 1
        blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
        for at in halves:
            blocks[:, at:at + 2] = (rng.standard_normal(n) / 50).astype("<f2").view(np.uint8).reshape(n, 2)
        result = dequantize(blocks, dtype).astype("<f4")
        out.append(f"{dtype.name.lower()} {blocks.tobytes().hex()} {result.tobytes().hex()}\n")
    path = pathlib.Path(__file__).parent / "blocks.txt"
    path.write_text("".join(out))


main()
