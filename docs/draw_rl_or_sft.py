"""Draws docs/rl_or_sft.svg from the table of the map in docs/results.md: RL against SFT that continues as long.

    python docs/draw_rl_or_sft.py [FILE]

One column for each row of the table: the paired difference in Pass@1 with its interval. `tests/unit/test_docs.py`
compares the file in the tree with the output of this script.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from draw_demo import line
from draw_flow import STYLE, rectangle, text

RESULTS = Path(__file__).resolve().parent / "results.md"
# "| 0.2 | 700 | 128 | 0 | 37.5 | 37.4 | 41.1 | 37.3 | +3.8 [+0.1, +7.5] | ...": share, SFT steps, width, seed, four
# scores, the difference with its bounds.
ROW = re.compile(
    r"^\| ([\d.]+) \| (\d+) \| (\d+) \| (\d+) \|(?: [\d.]+ \|){4} ([+-][\d.]+) \[([+-][\d.]+), ([+-][\d.]+)\]",
    re.MULTILINE,
)
WIDTH, HEIGHT = 960, 340
LEFT, RIGHT, TOP, BOTTOM = 80, 930, 52, 258  # edges of the plot
DOTS = """  .better { fill: #1a7f37; } .worse { fill: #cf222e; } .even { fill: #8b949e; }
  .grid { stroke: #8b949e; stroke-width: 0.4; }
"""


def drawing(results: str) -> str:
    rows = [(*names, *map(float, figures)) for *names, a, b, c in ROW.findall(results) for figures in [(a, b, c)]]
    high, low = max(5.0, *(row[6] for row in rows)) + 1, min(-5.0, *(row[5] for row in rows)) - 1
    gap = (RIGHT - LEFT) / len(rows)

    def y_of(points: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (points - low) / (high - low)

    parts = [
        rectangle(1, 1, WIDTH - 2, HEIGHT - 2, "page", 14),
        text(LEFT - 40, 34, "RL minus SFT that continues as long: held-out Pass@1, points", "title", "start"),
        text(RIGHT, 34, "paired by problem; 95% intervals", "note", "end"),
    ]
    for points in range(-50, 51, 5):
        if low <= points <= high:
            parts += [line(LEFT, y_of(points), RIGHT, y_of(points), "line" if points == 0 else "grid")]
            parts += [text(LEFT - 12, y_of(points) + 5, f"{points:+d}" if points else "0", "note", "end")]
    for index, (share, steps, width, seed, mean, lower, upper) in enumerate(rows):
        x = LEFT + gap * (index + 0.5)
        kind = "better" if lower > 0 else "worse" if upper < 0 else "even"
        parts += [line(x, y_of(lower), x, y_of(upper))]
        parts += [f'<circle cx="{x:.1f}" cy="{y_of(mean):.1f}" r="6" class="{kind}"/>']
        parts += [text(x, BOTTOM + 22 + 17 * i, words, "note") for i, words in enumerate((share, steps, width, seed))]
    for i, words in enumerate(("share", "SFT steps", "width", "seed")):
        parts.append(text(8, BOTTOM + 22 + 17 * i, words, "", "start"))
    label = "RL minus continued SFT for " + "; ".join(
        f"share {r[0]}, {r[1]} steps, width {r[2]}: {r[4]:+.1f}" for r in rows
    )
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
    style = STYLE.replace("  .page {", DOTS + "  .page {", 1)
    return "\n".join([start, f"<style>{style}</style>", *parts, "</svg>", ""])


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("rl_or_sft.svg")
    file.write_text(drawing(RESULTS.read_text(encoding="utf-8")), encoding="utf-8")
