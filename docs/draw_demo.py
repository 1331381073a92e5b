"""Draws docs/demo.svg from the table of the demo in README.md: held-out Pass@1 at every milestone, with its interval.

    python docs/draw_demo.py [FILE]

`tests/unit/test_docs.py` compares the file in the tree with the output of this script.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from draw_flow import STYLE, rectangle, text

README = Path(__file__).resolve().parent.parent / "README.md"
# "math_short   47.3 [41.5, 53.3]   80.0 ...": name, Pass@1, lower and upper bound.
ROW = re.compile(r"^(\w+) +(\d+\.\d) \[(\d+\.\d), (\d+\.\d)\]", re.MULTILINE)
WIDTH, HEIGHT = 960, 320
LEFT, RIGHT, TOP, BOTTOM = 80, 930, 48, 262  # edges of the plot
HIGHEST = 68  # percent, at the upper edge of the plot

BAR = "  .bar { fill: #54aeff; } .grid { stroke: #8b949e; stroke-width: 0.4; }\n"
DARK_BAR = "    .bar { fill: #1f6feb; }\n"


def y_of(percent: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * percent / HIGHEST


def line(x0: float, y0: float, x1: float, y1: float, style: str = "line") -> str:
    return f'<line x1="{x0:g}" y1="{y0:.1f}" x2="{x1:g}" y2="{y1:.1f}" class="{style}"/>'


def milestone(x: float, name: str, mean: float, low: float, high: float) -> list[str]:
    """A bar from 0 to the mean, its interval, the figure above and the name below."""
    return [
        rectangle(x - 26, y_of(mean), 52, BOTTOM - y_of(mean), "bar", 2),
        line(x, y_of(low), x, y_of(high)),
        *(line(x - 6, y_of(end), x + 6, y_of(end)) for end in (low, high)),
        text(x, y_of(high) - 8, f"{mean:.1f}", "note"),
        text(x, BOTTOM + 24, name, "note"),
    ]


def drawing(readme: str) -> str:
    rows = [(name, *map(float, figures)) for name, *figures in ROW.findall(readme)]
    gap = (RIGHT - LEFT) / len(rows)
    parts = [
        rectangle(1, 1, WIDTH - 2, HEIGHT - 2, "page", 14),
        text(LEFT - 40, 34, "make demo: held-out Pass@1, %", "title", "start"),
        text(RIGHT, 34, "160 problems × 8 samples, seed 0; 95% intervals", "note", "end"),
    ]
    for percent in (0, 25, 50):
        parts += [line(LEFT, y_of(percent), RIGHT, y_of(percent), "grid")]
        parts += [text(LEFT - 12, y_of(percent) + 5, str(percent), "note", "end")]
    for index, row in enumerate(rows):
        parts += milestone(LEFT + gap * (index + 0.5), *row)
    phases = [("SFT and fusion", 1, 4), ("MGPO, three stages", 4, 7)]
    parts += [text(LEFT + gap * (first + last) / 2, BOTTOM + 46, words) for words, first, last in phases]
    label = "Held-out Pass@1 at every milestone of the demo: " + ", ".join(f"{row[0]} {row[1]}" for row in rows)
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
    style = STYLE.replace("  .page {", BAR + "  .page {", 1).replace("    .page {", DARK_BAR + "    .page {", 1)
    return "\n".join([start, f"<style>{style}</style>", *parts, "</svg>", ""])


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("demo.svg")
    file.write_text(drawing(README.read_text(encoding="utf-8")), encoding="utf-8")
