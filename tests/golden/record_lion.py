#!/usr/bin/env python3
"""Records some steps of Lion (Chen et al. 2023, algorithm 2), for tests/unit/test_optim.c. Needs
numpy."""

import json
import pathlib

import numpy as np

N, STEPS, RATE, BETA1, BETA2, DECAY = 37, 8, 0.01, 0.9, 0.99, 0.1
rng = np.random.default_rng(4)
p, m = rng.normal(size=N), np.zeros(N)
golden = {"rate": RATE, "beta1": BETA1, "decay": DECAY, "first": p.tolist(), "grads": [], "values": []}
for _ in range(STEPS):
    g = rng.normal(size=N) * rng.choice([0, 1e-3, 1], size=N)
    p = p * (1 - RATE * DECAY) - RATE * np.sign(BETA1 * m + (1 - BETA1) * g)
    m = BETA2 * m + (1 - BETA2) * g
    golden["grads"].append(g.tolist())
    golden["values"].append(p.tolist())
path = pathlib.Path(__file__).resolve().parent / "lion.json"
path.write_text(json.dumps(golden) + "\n")
