"""Draws the probing problems of the run on real data from the training files in DATA, and writes them there.

DATA=FOLDER python docs/examples/real_math/make_probe.py
"""

import json
import os
import random
from pathlib import Path

DATA = Path(os.environ["DATA"])
SIZE = 32

draw = random.Random(1)
gsm8k = (DATA / "gsm8k_train.jsonl").read_text().splitlines(keepends=True)[5000:]
(DATA / "probe_gsm.jsonl").write_text("".join(draw.sample(gsm8k, SIZE)))
easy = [
    row
    for row in json.loads((DATA / "math_train.json").read_text())
    if row.get("difficulty") in ("1.0", "2.0", 1, 2)
    and row.get("answer")
    and "[asy]" not in row["problem"]
    and len(row["problem"]) < 500
]
(DATA / "probe_math.jsonl").write_text("".join(json.dumps(row) + "\n" for row in draw.sample(easy, SIZE)))
