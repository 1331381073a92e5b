"""The encoding of a text file whose format prescribes none."""

from __future__ import annotations

import codecs
import unicodedata
from typing import BinaryIO

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHUNK = 1 << 20


def detect(stream: BinaryIO) -> tuple[str, bool]:
    """Returns the encoding of `stream`, and whether it is certain: a byte order mark, or valid UTF-8 to the end."""
    chunk = stream.read(_CHUNK)
    for mark, encoding in _MARKS:
        if chunk.startswith(mark):
            return encoding, True
    if b"\0" in chunk[:2]:
        return ("utf-16-be" if chunk.startswith(b"\0") else "utf-16-le"), True
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = chunk
    try:
        while chunk:
            decoder.decode(chunk)
            read, chunk = chunk, stream.read(_CHUNK)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return _guess(chunk or read), False
    return "utf-8", True


def _guess(text: bytes) -> str:
    """Returns a likely encoding. For Latin letters it is always Windows-1252: the guess between the encodings of Latin
    letters is unreliable for short texts."""
    from charset_normalizer import from_bytes

    best = from_bytes(text).best()
    letters = {letter for letter in str(best or "") if letter.isalpha()}
    latin = all(unicodedata.name(letter, "LATIN").startswith("LATIN") for letter in letters)
    return "cp1252" if best is None or latin else best.encoding
