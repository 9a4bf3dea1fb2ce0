"""Records fscore.json: SQuAD token F1 as torchmetrics computes it (in f32), over odd pairs of texts.

Needs torchmetrics and torch. Run: python tests/golden/record_fscore.py > tests/golden/fscore.json
"""
import json
import random

from torchmetrics.functional.text.squad import _compute_f1_score

words = ["the", "The", "a", "an", "A.", "cat", "cat's", "Cat", "Zürich", "ÉCOLE", "école", "über—the", "3,000", "3000",
         "don’t", "an-apple", "the_end", "東京", "x\u00a0y", "", "\u2028", "t.h.e", "½", "!?", "anthem", "Ω", "thе"]
rng = random.Random(5)
pairs = [["", ""], ["", "cat"], ["the", "a"], ["the cat", "Cat!"], ["a b c", "c d"]]
for _ in range(300):
    pairs.append([" ".join(rng.choices(words, k=rng.randint(0, 6))) for _ in range(2)])
print(json.dumps([[a, b, round(float(_compute_f1_score(a, b)), 7)] for a, b in pairs], ensure_ascii=True, indent=0))
