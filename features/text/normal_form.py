"""Normal form of text, Arabic and English: what must be equal for two spellings to be the same word.

Letters lose case, accents, vowel marks and tatweel; the forms of alef, of ya and alef maqsura, of ta marbuta and ha,
and of hamza on its seats are one letter each; digits of any script are 0-9; apostrophes and marks without width go. A
word is a run of letters or of digits: `128GB` is two words.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import chain

import numpy as np
import pyarrow as pa

WORD = re.compile(r"[^\W\d_]+|\d+")
LETTERS = {"ٱ": "ا", "ى": "ي", "ی": "ي", "ک": "ك", "ة": "ه", "ہ": "ه", "ۃ": "ه", "ھ": "ه"}
# Soft hyphen, tatweel, joiners, marks of direction, the byte order mark.
WITHOUT_WIDTH = "\u00ad\u0640\u061c\ufeff" + "".join(map(chr, [*range(0x200B, 0x2010), *range(0x202A, 0x202F)]))
WITHOUT_WIDTH += "".join(map(chr, range(0x2066, 0x206A)))
APOSTROPHES = "'\u2018\u2019\u02bc\u0060\u00b4"
FOLDED = str.maketrans(LETTERS | dict.fromkeys(WITHOUT_WIDTH + APOSTROPHES, ""))


def words(text: str | None) -> list[str]:
    """The words of a text in normal form, in order."""
    if not text:
        return []
    plain = text.casefold().translate(FOLDED)
    if not plain.isascii():
        marked = unicodedata.normalize("NFKD", plain)
        plain = "".join(_digit(mark) for mark in marked if not unicodedata.combining(mark)).translate(FOLDED)
    return WORD.findall(plain)


def tokenise(texts: pa.Array) -> pa.Array:
    """list<string>: the `words` of each text; empty for a missing one."""
    split = [words(text) for text in texts.to_pylist()]
    offsets = np.append(0, np.cumsum([len(row) for row in split])).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(list(chain.from_iterable(split)), pa.string()))


def _digit(mark: str) -> str:
    return str(unicodedata.digit(mark, mark)) if mark.isdigit() else mark
