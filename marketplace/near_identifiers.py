"""Identifiers that differ from a known one only in how they were written, and what likely wrote them so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.keys import rows_of

Writing = Callable[[pa.Array], pa.Array]


def _without_decimals(names: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(names, r"^(\d+)\.0*$", r"\1")


def _without_zeros(names: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(_without_decimals(names), r"^0+(\d)", r"\1")


def _lower(names: pa.Array) -> pa.Array:
    return pc.utf8_lower(names)


def _form(names: pa.Array) -> pa.Array:
    return pc.utf8_lower(pc.utf8_trim_whitespace(pc.utf8_normalize(names, form="NFKC")))


# What is alike once it is written in one way, the likely cause, and the fix.
WRITINGS: tuple[tuple[Writing, str, str], ...] = (
    (
        _without_decimals,
        'ids were read as decimals, which puts ".0" behind them',
        'Export ids as text: in pandas read_csv(..., dtype=str) or astype("Int64"), in a sheet as text.',
    ),
    (_without_zeros, "ids were read as numbers, which drops leading zeros", "Export ids as text in every file."),
    (_lower, "upper and lower case differ", "Write ids in one case in every file."),
    (_form, "the form of letters or digits differs (full width, composed)", "Write ids in one form (Unicode NFC)."),
)


@dataclass(frozen=True)
class NearIdentifiers:
    """Rows (bool [n]) whose id is unknown but near a known one; one of them and the known one, the cause, the fix."""

    rows: np.ndarray
    unknown: str
    known: str
    cause: str
    fix: str


def near_identifiers(names: pa.Array, known: pa.Array) -> NearIdentifiers | None:
    """The way of writing under which most unknown `names` [n] are among `known`; None where under none any is."""
    absent = pc.and_(pc.is_valid(names), pc.invert(pc.is_in(names, known))).fill_null(False)
    unknown = pc.unique(names.filter(absent))
    best: NearIdentifiers | None = None
    for writing, cause, fix in WRITINGS if len(unknown) else ():
        at = rows_of(writing(unknown), writing(known))
        rows = np.append(at >= 0, False)[rows_of(names, unknown)]
        if rows.any() and (best is None or rows.sum() > best.rows.sum()):
            first = int(np.argmax(at >= 0))
            best = NearIdentifiers(rows, unknown[first].as_py(), known[int(at[first])].as_py(), cause, fix)
    return best
