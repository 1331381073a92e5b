r"""LaTeX as text that sympy can read: \frac{1}{2} is 1/2, \sqrt{x} is sqrt(x), \pi is pi. Pure.

The evaluation that these rules follow uses pylatexenc. This is the part of it that answers need.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\\(?:[A-Za-z]+|.)|[{}\[\]]|[^\\{}\[\]]", re.DOTALL)
_MAX_DEPTH = 100
_SYMBOLS = {
    "pi": "pi", "infty": "inf", "cup": "U", "cdot": "*", "times": "*", "div": "÷", "pm": "±", "mp": "∓",
    "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "in": "∈", "cap": "∩", "circ": "∘",
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "theta": "θ", "lambda": "λ", "mu": "μ", "phi": "ϕ",
    "omega": "ω", "sigma": "σ", "rho": "ρ", "epsilon": "ϵ", "ldots": "…", "dots": "…", "cdots": "⋯", "angle": "∠",
    "to": "→", "rightarrow": "→", "emptyset": "∅", "mid": "∣", "quad": "  ", "qquad": "    ",
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "log": "log", "ln": "ln",
    "exp": "exp", "arcsin": "arcsin", "arccos": "arccos", "arctan": "arctan", "max": "max", "min": "min",
    ",": " ", ";": " ", ":": " ", " ": " ", "{": "{", "}": "}", "%": "%", "$": "$", "&": "&", "#": "#", "_": "_",
    "\\": "\n",
}  # fmt: skip


def latex_to_text(latex: str) -> str:
    """Returns the text of `latex`. A macro without an entry in the table leaves its arguments."""
    latex = re.sub(r"\\[td]frac(?![A-Za-z])", r"\\frac", latex).replace("\\frac", " \\frac")
    return _Reader(_TOKEN.findall(latex)).text().strip()


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0

    def text(self, closing: str = "") -> str:
        """Returns the text up to the token `closing`, which is skipped, or to the end."""
        parts = []
        while self._at < len(self._tokens):
            token = self._next()
            if token == closing:
                break
            parts.append(self._text_of(token))
        return "".join(parts)

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _text_of(self, token: str) -> str:
        if token == "{":
            return self._group("}")
        if token == "}":
            return ""
        if not token.startswith("\\") or len(token) == 1:
            return token
        name = token[1:]
        if name == "frac":
            return f"{self._argument()}/{self._argument()}"
        if name == "sqrt":
            if self._at < len(self._tokens) and self._tokens[self._at] == "[":
                self._next()
                self._group("]")
            return f"sqrt({self._argument()})"
        return _SYMBOLS.get(name, "")

    def _group(self, closing: str) -> str:
        if self._depth >= _MAX_DEPTH:
            return ""
        self._depth += 1
        text = self.text(closing)
        self._depth -= 1
        return text

    def _argument(self) -> str:
        r"""Returns the text of the next group, or of the next token: \frac12."""
        while self._at < len(self._tokens) and self._tokens[self._at].isspace():
            self._at += 1
        return self._text_of(self._next()) if self._at < len(self._tokens) else ""
