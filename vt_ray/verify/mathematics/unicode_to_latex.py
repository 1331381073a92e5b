r"""Mathematics written with Unicode characters, as LaTeX.

    "3×10⁵"  --to_latex-->  "3\times 10^{5}"

Pure, and linear in the text.
"""

from __future__ import annotations

import re
import unicodedata

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱᵀ", "0123456789+-()niT")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₐₑₒₓₖₙₘ", "0123456789+-()aeoxknm")
_SUPERSCRIPT_RUN = re.compile("[" + "".join(map(chr, _SUPERSCRIPTS)) + "]+")
_SUBSCRIPT_RUN = re.compile("[" + "".join(map(chr, _SUBSCRIPTS)) + "]+")
_RAISED_FRACTION = re.compile("([⁰¹²³⁴⁵⁶⁷⁸⁹]+)[⁄∕/]([₀₁₂₃₄₅₆₇₈₉]+)")
_VULGAR_FRACTIONS = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"

_CHARACTERS = {
    "×": r"\times ", "✕": r"\times ", "÷": r"\div ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "∗": "*",
    "⁄": "/", "∕": "/", "π": r"\pi ", "∞": r"\infty ", "°": r"^\circ ", "º": r"^\circ ", "˚": r"^\circ ",
    "℃": r"^\circ \text{C}", "℉": r"^\circ \text{F}",
    "≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ",
    "∪": r"\cup ", "⋃": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∉": r"\notin ", "∖": r"\setminus ",
    "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}",
    "ℂ": r"\mathbb{C}", "√": r"\sqrt ", "∛": r"\sqrt[3] ", "∜": r"\sqrt[4] ", "±": r"\pm ", "∓": r"\mp ",
    "¬": r"\neg ", "∧": r"\land ", "∨": r"\lor ", "∠": r"\angle ", "△": r"\triangle ", "⟨": "(", "⟩": ")",
    "⇒": r"\Rightarrow ", "→": r"\to ", "∴": r"\therefore ", "⊤": r"\top ", "✓": r"\checkmark ", "✔": r"\checkmark ",
    "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "ε": r"\epsilon ", "θ": r"\theta ",
    "λ": r"\lambda ", "μ": r"\mu ", "ρ": r"\rho ", "σ": r"\sigma ", "τ": r"\tau ", "φ": r"\phi ", "ϕ": r"\phi ",
    "ψ": r"\psi ", "ω": r"\omega ", "Γ": r"\Gamma ", "Δ": r"\Delta ", "Σ": r"\Sigma ", "Ω": r"\Omega ",
    "ℓ": r"\ell ", "¢": " cents", "…": "...", "⋯": "...", "，": ",", "、": ", ", "：": ":", "；": ";", "。": ".",
    "’": "'", "′": "'", "″": "''", "﹣": "-", "ⅈ": "i",
}  # fmt: skip
_CHARACTERS |= dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-")
_CHARACTERS |= dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff", "")  # characters of no width
_CHARACTERS |= dict.fromkeys(
    "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000", " "
)
# The full-width forms of ASCII (digits, letters, signs). Not NFKC, which would turn x² into x2.
_CHARACTERS |= {chr(0xFEE0 + code): chr(code) for code in range(0x21, 0x7F)}
# The mathematical alphabets: an italic x is an x.
_CHARACTERS |= {
    chr(code): plain
    for code in range(0x1D400, 0x1D800)
    if (plain := unicodedata.normalize("NFKC", chr(code))).isalnum() and plain.isascii()
}
_CHARACTERS |= {
    char: "\\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", char).split("⁄")) for char in _VULGAR_FRACTIONS
}
_TRANSLATION = str.maketrans(_CHARACTERS)


def to_latex(text: str) -> str:
    """Returns the text with its mathematical characters as LaTeX. A run of superscripts is one exponent."""
    if text.isascii():
        return text
    text = _RAISED_FRACTION.sub(
        lambda run: rf"\frac{{{run[1].translate(_SUPERSCRIPTS)}}}{{{run[2].translate(_SUBSCRIPTS)}}}", text
    )
    text = _SUPERSCRIPT_RUN.sub(lambda run: f"^{{{run[0].translate(_SUPERSCRIPTS)}}}", text)
    text = _SUBSCRIPT_RUN.sub(lambda run: f"_{{{run[0].translate(_SUBSCRIPTS)}}}", text)
    return text.translate(_TRANSLATION)
