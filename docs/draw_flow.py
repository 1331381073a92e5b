"""Draws docs/flow.svg, the picture of the two phases in README.md.

    python docs/draw_flow.py [FILE]

`tests/unit/test_docs.py` compares the file in the tree with the output of this script.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 960, 580
COLUMNS = [41 + 182 * i for i in range(5)]  # left edges of the boxes
BOX_WIDTH, BOX_HEIGHT = 150, 92

SPECTRUM = [
    ("Base model", ["Hugging Face folder", "or built from scratch"]),
    ("SFT", ["one trajectory,", "T checkpoints"]),
    ("Probing", ["Pass@K of every", "checkpoint"]),
    ("Selection", ["the best checkpoint", "of each subdomain"]),
    ("Fusion", ["weighted mean of", "the selected ones"]),
]
SIGNAL = [
    ("Generator", ["vLLM, a group for", "each question"]),
    ("Verifier pool", ["math, choice, and", "code in a sandbox"]),
    ("Tracker", ["accuracy p of", "each group"]),
    ("MGPO", ["advantage times", "exp(−λ · KL(p ‖ ½))"]),
    ("Learner", ["DeepSpeed, one", "update per step"]),
]

# The picture brings its own background, so it is readable on a light and on a dark page.
STYLE = """
  .page { fill: #ffffff; stroke: #d0d7de; }
  .spectrum { fill: #eaf3ff; } .signal { fill: #fff3e4; }
  .box { fill: #ffffff; stroke: #57606a; stroke-width: 1.2; }
  .line { stroke: #57606a; stroke-width: 1.8; fill: none; }
  .head { fill: #57606a; }
  .spectrum-mark { fill: #0969da; } .signal-mark { fill: #bc4c00; }
  text { font-family: Helvetica, Arial, "DejaVu Sans", sans-serif; font-size: 13px; fill: #424a53; }
  .title { font-size: 16px; font-weight: bold; fill: #1f2328; }
  .note { font-size: 13.5px; fill: #424a53; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #30363d; }
    .spectrum { fill: #10233d; } .signal { fill: #33210f; }
    .box { fill: #0d1117; stroke: #8b949e; }
    .line { stroke: #9da7b1; }
    .head { fill: #9da7b1; }
    .spectrum-mark { fill: #4493f8; } .signal-mark { fill: #f0883e; }
    text, .note { fill: #c4ccd4; }
    .title { fill: #f0f6fc; }
  }
"""


def text(x: float, y: float, words: str, style: str = "", anchor: str = "middle") -> str:
    """A line of text whose baseline is at `y`."""
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{kind}>{escape(words)}</text>'


def rectangle(x: float, y: float, width: float, height: float, style: str, radius: float = 8) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" class="{style}"/>'


def arrow(*points: tuple[float, float]) -> str:
    """A line through `points`, with a head at the last one. All segments are horizontal or vertical."""
    (x0, y0), (x, y) = points[-2:]
    dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
    base = (x - 9 * dx, y - 9 * dy)
    corners = [(x, y), (base[0] + 5 * dy, base[1] + 5 * dx), (base[0] - 5 * dy, base[1] - 5 * dx)]
    path = " ".join(f"{a:g},{b:g}" for a, b in [*points[:-1], base])
    head = " ".join(f"{a:g},{b:g}" for a, b in corners)
    return f'<polyline points="{path}" class="line"/><polygon points="{head}" class="head"/>'


def row(top: float, boxes: list[tuple[str, list[str]]]) -> list[str]:
    """Five boxes with an arrow from each to the next."""
    parts, middle = [], top + BOX_HEIGHT / 2
    for left, (title, lines) in zip(COLUMNS, boxes, strict=True):
        centre = left + BOX_WIDTH / 2
        parts += [rectangle(left, top, BOX_WIDTH, BOX_HEIGHT, "box"), text(centre, top + 30, title, "title")]
        parts += [text(centre, top + 54 + 19 * i, line) for i, line in enumerate(lines)]
    parts += [arrow((left + BOX_WIDTH + 3, middle), (left + 179, middle)) for left in COLUMNS[:-1]]
    return parts


def panel(top: float, height: float, name: str, title: str, note: str) -> list[str]:
    return [
        rectangle(20, top, WIDTH - 40, height, name, 12),
        rectangle(20, top, 6, height, f"{name}-mark", 3),
        text(41, top + 27, title, "title", "start"),
        text(225, top + 27, note, "note", "start"),
    ]


def drawing() -> str:
    first, last = COLUMNS[0] + BOX_WIDTH / 2, COLUMNS[-1] + BOX_WIDTH / 2
    parts = [
        rectangle(1, 1, WIDTH - 2, HEIGHT - 2, "page", 14),
        *panel(20, 156, "spectrum", "Spectrum phase", "the model learns many ways to a solution"),
        *row(64, SPECTRUM),
        *panel(232, 226, "signal", "Signal phase", "MGPO steps, for each stage of the curriculum"),
        *row(286, SIGNAL),
        arrow((last, 64 + BOX_HEIGHT + 3), (last, 283)),
        text(last - 12, 209, "fused model", "note", "end"),
        arrow((last, 381), (last, 426), (first, 426), (first, 381)),
        text(WIDTH / 2, 418, "weight sync: version + 1, the checksum of every tensor read back", "note"),
        arrow((WIDTH / 2, 461), (WIDTH / 2, 487)),
        rectangle(COLUMNS[0], 490, WIDTH - 82, 66, "box"),
        text(WIDTH / 2, 517, "Evaluation and report", "title"),
        text(WIDTH / 2, 541, "Pass@1 and Pass@8 on held-out problems at every milestone, with 95% intervals"),
    ]
    label = "The two phases: SFT, probing and fusion make one model; MGPO trains it; an evaluation ends the run."
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
    return "\n".join([start, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("flow.svg")
    file.write_text(drawing(), encoding="utf-8")
