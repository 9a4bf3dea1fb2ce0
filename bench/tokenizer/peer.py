#!/usr/bin/env python3
"""The `tokenizers` package's encoding speed on the same text, one thread (processor time, median).
Usage: peer.py tokenizer.json TEXT [ROUNDS]"""
import os
import statistics
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from tokenizers import Tokenizer  # noqa: E402

start = time.process_time()
tokenizer = Tokenizer.from_file(sys.argv[1])
loading = time.process_time() - start
text = open(sys.argv[2], encoding="utf-8", newline="").read()
size, seconds = len(text.encode()), []
for _ in range(int(sys.argv[3]) if len(sys.argv) > 3 else 5):
    start = time.process_time()
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    seconds.append(time.process_time() - start)
rate = size / 1e6 / statistics.median(seconds)
print(f"{sys.argv[1]}: {size} bytes, {len(ids)} ids; load {loading * 1e3:.1f} ms; "
      f"encode {rate:.2f} MB/s")
