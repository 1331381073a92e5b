"""The path of a solution: its sequence of operations, without numbers, names and words.

"We have 3 + 4 = 7, so \\boxed{7}" and "4+3=7\\n\\boxed{7}"  -->  the same path "+ = \\boxed"
program  -->  its syntax tree with its own names numbered and its constants left out
"""

from __future__ import annotations

import ast
import re

from vt_ray.config import digest
from vt_ray.verify.extraction.final_text import final_text
from vt_ray.verify.programs.extract_program import extract_program

# A program of more characters is compared as text: the parser needs several kilobytes for each line.
MAX_PROGRAM = 20_000

_SAME = {
    **dict.fromkeys(("\\times", "\\cdot", "×", "·", "∗"), "*"),
    **dict.fromkeys(("\\div", "\\frac", "\\dfrac", "\\tfrac", "÷"), "/"),
    **dict.fromkeys(("\\le", "\\leq"), "≤"),
    **dict.fromkeys(("\\ge", "\\geq"), "≥"),
    **dict.fromkeys(("\\sqrt",), "√"),
    **dict.fromkeys(("−", "–"), "-"),
}
# Commands for layout, and for text inside a formula.
_LAYOUT = re.compile(
    r"\\(left|right|q?quad|text(bf|it|rm)?|math(rm|bf)|displaystyle|begin|end|[hv]space|[bB]ig[lr]?|label|tag|item)"
)
_TOKEN = re.compile(
    r"""(?P<skip>
          ^[ \t]*[-*+•][ \t]          # the mark of a list
        | \*\*+ | ^[ \t]*\#+          # bold text and headings of Markdown
        | [^\W\d_]{2,}(?:[-/'’–][^\W\d_]{2,})*   # words, with hyphens between them
        | -{2,} | ={3,}               # rules
        )
    | (?P<command> \\[A-Za-z]+ )
    | (?P<operator> [-+*/^=<>≤≥≠≈√!%|×·∗÷−–] )""",
    re.VERBOSE | re.MULTILINE,
)


def solution_path(kind: str, completion: str) -> str:
    """A hash of the path of the solution in a completion, after its thinking. Equal paths have equal hashes."""
    if kind == "code":
        return digest(program_path(extract_program(completion) or ""))
    return digest(formula_path(final_text(completion) or ""))


def formula_path(text: str) -> str:
    """The operators and LaTeX commands of a text in their order, joined by spaces. Linear in the text.

    Numbers, variables and words are left out, so that other words, another order of two terms, or a slip in a number
    give the same path.
    """
    found = []
    for match in _TOKEN.finditer(text):
        token = match["operator"] or match["command"]
        if token and not _LAYOUT.fullmatch(token):
            found.append(_SAME.get(token, token))
    return " ".join(found)


def program_path(source: str) -> str:
    """The syntax tree of a Python program: its own names are numbered in order, constants and docstrings are left out.

    A program that cannot be parsed is returned with single spaces.
    """
    try:
        if len(source) > MAX_PROGRAM:
            raise ValueError("too long to parse")
        tree = ast.parse(source)
        own = {name: f"v{number}" for number, name in enumerate(dict.fromkeys(_own_names(tree)))}
        return ast.dump(_Plain(own).visit(tree), annotate_fields=False)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return " ".join(source.split())


def _own_names(tree: ast.AST) -> list[str]:
    """The names that a program gives to variables, parameters, functions and classes."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(node.name)
    return names


class _Plain(ast.NodeTransformer):
    """Replaces names by those of `own`, and every constant by its type."""

    def __init__(self, own: dict[str, str]):
        self.own = own

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field in ("id", "arg", "name"):
            if isinstance(name := getattr(node, field, None), str):
                setattr(node, field, self.own.get(name, name))
        return super().generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant(type(node.value).__name__)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)
