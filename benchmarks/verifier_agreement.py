"""Agreement of vt_ray's math verifier with math-verify and with the grader of the paper's own evaluation.

    python benchmarks/verifier_agreement.py FILE... [--output FILE]

A FILE holds pairs with the verdict that its authors give: rows of `vt-tools verify` (.jsonl: gold, response, expect),
or a test file of math-verify (.py: `parametrize` lists of (gold, answer, expected); the tests are in the source
distribution, `pip download math-verify --no-binary :all: --no-deps`). A value alone in a test file is put into
a box; a text is graded as it is. math-verify is called as its README does. The paper's
grader gets the response after `</think>`. The output lists each pair on which vt_ray and the file disagree.
"""

from __future__ import annotations

import argparse
import ast
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vt_ray.records import Problem
from vt_ray.verify.extraction.final_answer import extract_answer
from vt_ray.verify.verifier import Verifier

# Two words in a row outside of LaTeX, or a box: a completion, not a value alone.
_WORDS = re.compile(r"\\boxed|(?<![\\A-Za-z{])[A-Za-z']{2,}[ :,]+[$A-Za-z']{2,}|[Aa]nswer")
_WHOLE_MATH = re.compile(r"\s*(?:\$\$?|\\\(|\\\[)(.*?)(?:\$\$?|\\\)|\\\])\s*", re.DOTALL)


@dataclass(frozen=True)
class Pair:
    """A gold answer and a response. `right` is the verdict of the file's authors."""

    gold: str
    response: str
    right: bool


def pairs_of(path: Path) -> Iterator[Pair]:
    if path.suffix == ".py":
        yield from _pairs_of_tests(ast.parse(path.read_text(encoding="utf-8")))
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row.get("kind", "math") == "math" and len(row["expect"]) == 1:
            yield Pair(row["gold"], row["response"], row["expect"] == ["correct"])


def _pairs_of_tests(module: ast.Module) -> Iterator[Pair]:
    """Yields the tuples (gold, answer, expected) of all `parametrize` lists."""
    for node in ast.walk(module):
        if not isinstance(node, ast.Tuple) or len(node.elts) != 3:
            continue
        try:
            gold, answer, expected = ast.literal_eval(node)
        except ValueError:
            continue
        if isinstance(gold, str) and isinstance(answer, str) and expected in (0, 1):
            is_value = not _WORDS.search(answer)
            yield Pair(_bare(gold), f"$\\boxed{{{_bare(answer)}}}$" if is_value else answer, bool(expected))


def _bare(text: str) -> str:
    """Returns the text of a gold answer: the content of its box or of its dollar signs."""
    if "\\boxed" in text:
        return extract_answer(text) or text
    whole = _WHOLE_MATH.fullmatch(text)
    return whole[1].strip() if whole else text


def math_verify_accepts(pair: Pair) -> bool:
    from math_verify import parse, verify

    return bool(verify(parse(f"\\boxed{{{pair.gold}}}"), parse(pair.response)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument(
        "--output", type=Path, help="JSON lines, one for each pair on which vt_ray and the file disagree"
    )
    arguments = parser.parse_args()
    table = Table("file", "pairs", "vt_ray", "math-verify", "vibethinker", title="pairs judged as the file does")
    differences = []
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it logs each pair that takes too long
    with Verifier() as verifier:
        for path in arguments.files:
            pairs = list(dict.fromkeys(pairs_of(path)))
            agreed = [0, 0, 0]
            for pair in pairs:
                ours = verifier.verify(Problem("q", "math", "math", "?", answer=pair.gold), pair.response)
                second = Problem("q", "math", "vibethinker", "?", answer=pair.gold)
                theirs = verifier.verify(second, f"<think></think>{pair.response}").status == "correct"
                peer = math_verify_accepts(pair)
                verdicts = (ours.status == "correct", peer, theirs)
                agreed = [count + (verdict is pair.right) for count, verdict in zip(agreed, verdicts, strict=True)]
                if verdicts[0] is not pair.right:
                    differences.append(
                        {"file": path.name, "gold": pair.gold, "response": pair.response, "file_says": pair.right}
                        | {"vt_ray": ours.status, "math_verify": peer, "vibethinker": theirs}
                    )
            table.add_row(path.name, str(len(pairs)), *(str(count) for count in agreed))
    Console().print(table)
    lines = "".join(json.dumps(difference, ensure_ascii=False) + "\n" for difference in differences)
    if arguments.output:
        arguments.output.write_text(lines, encoding="utf-8")
    else:
        print(lines, end="")


if __name__ == "__main__":
    main()
