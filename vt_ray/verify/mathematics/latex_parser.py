r"""math-verify's LaTeX parser, without readings that make different answers equal. For the child process.

    "\frac{x}{2}" --rewrite or refuse text that it misreads--> latex2sympy --> a sympy tree that was not evaluated

The parser drops unknown text (5\ldots, 12_3, 5"), reads I as i and \gamma as a function, and adds adjacent numbers,
which is right only for 2\frac13: 2(3) is 6.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from vt_ray.verify.mathematics.latex_text import without_outer_braces

# Refused, because the parser would drop characters and read another number.
_MISREAD = re.compile(
    r"(?<![A-Za-z'])'"  # 7'
    r"|(?<![_\d])\d+\s*_"  # 12_3
    r"|\\[lcv]?dots|\.\."
    r"|\\(?:[hv]?phantom|[hv]space|hskip|kern|boxed|approx|not|neg|lnot)(?![A-Za-z])"
    r'|"|\.\d*\.|!!|\d\s*\{\d'
    r"|\|\s*_"  # 2x+1 at x = 3
)
# The operand of a degree or percent sign: in 32x^\\circ+80 it is x alone.
_ATOM = r"(\d+(?:\.\d+)?|\.\d+|\([^()]*\)|(?<![A-Za-z\\])[A-Za-z]|\\(?:alpha|beta|gamma|theta|phi)(?![A-Za-z]))"
# \sin x \cdot y is (\sin x)y, but the parser reads \sin(xy); \cos 2\pi/7 and \sin x/2 are not changed.
_FACTOR_BEHIND = (
    r"(\\(?:sin|cos|tan|cot|sec|csc|ln|log)(?:[_^]\{\w+\})?)\s*"
    r"((?:\d+\s*)?(?:(?<![A-Za-z])[A-Za-z]|\\(?:alpha|beta|theta|phi)(?![A-Za-z])))"
    r"(?=\s*(?:\\cdot|\\times|\*|/\s*[A-Za-z\\]))|(\\(?:ln|log)(?:_\{\w+\})?)\s*(\d+)(?=\s*/\s*\\(?:ln|log)(?![A-Za-z]))"
)
_STRAY_MARK = re.compile(r"\\circ(?![A-Za-z])|\\%")
_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"{_ATOM}\s*\^\s*\{{?\s*\\circ(?![A-Za-z])\s*\}}?", r"{(\\frac{\1\\pi}{180})}"),
        (rf"{_ATOM}\s*\\%", r"{(\\frac{\1}{100})}"),
        (r"\\sqrt\[(\d*[13579])\]\{-(\d+)\}", r"(-\\sqrt[\1]{\2})"),  # the real root
        (r"\\pi\s*\(", r"\\pi\\cdot("),
        (_FACTOR_BEHIND, r"\1\3(\2\4)"),
        (r"(\w|\([^()]*\))!\^", r"{(\1!)}^"),
        (r"(?<=[\d)])\s*(?=[(\[]|\\binom)|(?<=\))\s*(?=\d|\\frac)", r"\\cdot "),
        (r"(\\binom\{[^{}]*\}\{[^{}]*\})\s*(?=\d|\\(?:binom|frac))", r"\1\\cdot "),
        # Letters that the parser reads as constants or functions: I, E and e with an index, \gamma.
        (r"(?<![A-Za-z\\])([Ee])_\{(\w+)\}", r"J_{\1\2}"),
        (r"(?<![A-Za-z\\])I_\{(\w+)\}", r"J_{upper\1}"),
        (r"(?<![A-Za-z\\])I(?![A-Za-z])", "J_{upper}"),
        (r"\\([gG]amma)_\{(\w+)\}", r"J_{\1\2}"),
        (r"\\(gamma)(?![A-Za-z])|\\(Gamma)(?![A-Za-z(])", r"J_{\1\2}"),
        (r"'", "_{prime}"),
        (r"\^\s*\{?\s*T\s*\}?(?![A-Za-z])", "^{(T)}"),  # a power, which the parser would read as a transposed matrix
    )
)


@lru_cache(maxsize=4_096)
def parse_expression(latex: str) -> Any:
    """Returns a sympy expression with the constants `e` and `i` and exact decimals; None if it is no expression."""
    from latex2sympy2_extended.latex2sympy2 import (
        ConversionConfig,
        NormalizationConfig,
        latex2sympy,
        normalize_latex,
    )

    if _MISREAD.search(latex):
        return None
    for pattern, replacement in _REWRITES:
        latex = pattern.sub(replacement, latex)
    latex = without_outer_braces(latex)  # braces around the whole would be read as a set
    if _STRAY_MARK.search(latex):
        return None
    tidying = NormalizationConfig(basic_latex=True, malformed_operators=True, nits=True, boxed="none")
    try:
        tree = latex2sympy(
            normalize_latex(latex, tidying),
            normalization_config=None,
            conversion_config=ConversionConfig(lowercase_symbols=False),
        )
        return tree.xreplace(_constants(tree)) if _is_expression(tree) else None
    except (MemoryError, RecursionError):
        raise
    except Exception:  # the parser's own errors have no common class
        return None


def is_numeric_limit(*trees: Any) -> bool:
    """Whether a value needs quadrature or summation, which takes too long with many digits."""
    import sympy

    return any(tree.has(sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit) for tree in trees)


def _is_expression(tree: Any) -> bool:
    """Whether the tree is not a set, a relation, 1/0 or 5 + infinity."""
    import sympy

    if not isinstance(tree, sympy.Expr) or tree.has(sympy.zoo, sympy.nan):
        return False
    infinite = (sympy.oo, sympy.S.NegativeInfinity)
    return not tree.has(*infinite) or tree in infinite or tree == -sympy.oo or is_numeric_limit(tree)


def _constants(tree: Any) -> dict[Any, Any]:
    import sympy

    constants = {"i": sympy.I, "e": sympy.E}
    named = {symbol: constants.get(symbol.name, sympy.Symbol(symbol.name)) for symbol in tree.free_symbols}
    return named | {number: sympy.Rational(str(number)) for number in tree.atoms(sympy.Float) if number.is_finite}
