"""Cells of an exported column as values of a kind: text, number, truth or time, with a finding for every bad one.

Conventions: a bad or empty value becomes null and its finding says how many there are, the first row (counted from 1
without the header) and what was received.
"""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.datasets.times import times
from marketplace.finding import Finding, Where, of_rows

NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
WORD_NUMBER = r"(?i)^\s*([+-]?inf(inity)?|nan)\s*$"
TRUE, FALSE = ("true", "1", "yes", "y", "t"), ("false", "0", "no", "n", "f")


def convert(
    column: pa.ChunkedArray, kind: pa.DataType, *, where: Where, time_zone: str | None, time_format: str | None
) -> tuple[pa.Array, list[Finding]]:
    """`column` as `kind` (text, number, bool or time), null where that fails, and what failed."""
    values = column.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_nested(values.type):
        finding = Finding("values", where, f"the column holds {values.type}.", f"Export one plain {kind} a row.")
        return pa.nulls(len(values), kind), [finding]
    try:
        return _converted(values, kind, where=where, time_zone=time_zone, time_format=time_format)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        return pa.nulls(len(values), kind), [_wrong_type(values, kind, where, error)]


def _converted(
    values: pa.Array, kind: pa.DataType, *, where: Where, time_zone: str | None, time_format: str | None
) -> tuple[pa.Array, list[Finding]]:
    if pa.types.is_timestamp(kind):
        return times(values, where=where, time_zone=time_zone, time_format=time_format)
    if pa.types.is_boolean(kind):
        return _booleans(values, where=where)
    if pa.types.is_string(kind):
        return _whole(values).cast(pa.string()), []
    return _numbers(values, kind, where=where)


def identifiers(values: pa.Array) -> pa.Array:
    """Names as they are compared: Unicode NFC, without blanks around them; null where nothing is left."""
    coded = values.dictionary_encode()
    names = _composed(pc.utf8_trim_whitespace(coded.dictionary))
    return pc.if_else(pc.equal(names, ""), None, names).take(coded.indices)


def _composed(names: pa.Array) -> pa.Array:
    """Unicode NFC; Arrow's own utf8_normalize leaves accents and hamzas apart (version 25)."""
    other = pc.fill_null(pc.invert(pc.string_is_ascii(names)), False)
    composed = [unicodedata.normalize("NFC", name) for name in names.filter(other).to_pylist()]
    return pc.replace_with_mask(names, other, pa.array(composed, names.type)) if composed else names


def _whole(values: pa.Array) -> pa.Array:
    """Numbers that are all whole as integers: the name of item 101 is not 101.0."""
    if not pa.types.is_floating(values.type):
        return values
    values = pc.if_else(pc.is_nan(values), None, values)
    whole = pc.and_(pc.less(pc.abs(values), 2.0**53), pc.equal(pc.floor(values), values))
    return values.cast(pa.int64()) if pc.all(whole).as_py() else values


def _wrong_type(values: pa.Array, kind: pa.DataType, where: Where, error: Exception) -> Finding:
    reason = f"the column is {values.type}: {error}."
    return Finding("values", where, reason, f"Export the column as {kind}.")


def _numbers(values: pa.Array, kind: pa.DataType, *, where: Where) -> tuple[pa.Array, list[Finding]]:
    if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_nan(values), None, values)  # a missing number, as pandas writes it
        return values.cast(kind), []
    fits = pc.or_(pc.match_substring_regex(values, NUMBER), pc.match_substring_regex(values, WORD_NUMBER))
    bad = _true(pc.invert(fits))
    numbers = pc.if_else(fits, pc.utf8_trim_whitespace(values), None).cast(pa.float64())
    fix = "Write digits 0-9 with a point for decimals and no thousands separator or currency sign."
    return numbers.cast(kind), _report(values, bad, where=where, expected="a number", fix=fix)


def _booleans(values: pa.Array, *, where: Where) -> tuple[pa.Array, list[Finding]]:
    if pa.types.is_boolean(values.type):
        return values, []
    words = pc.utf8_lower(pc.utf8_trim_whitespace(values.cast(pa.string())))
    yes, no = (pc.is_in(words, pa.array(known)) for known in (TRUE, FALSE))
    known = pc.or_(yes, no)
    bad = _true(pc.and_(pc.invert(known), pc.is_valid(values)))
    fix = f"Write one of {(*TRUE, *FALSE)}."
    return pc.if_else(known, yes, None), _report(values, bad, where=where, expected="true or false", fix=fix)


def is_yes_or_no(column: pa.ChunkedArray) -> bool:
    """Whether a column holds truths: yes, no, true, false and the like in every cell that is not empty."""
    if not pa.types.is_string(column.type):
        return pa.types.is_boolean(column.type)
    words = pc.utf8_lower(pc.utf8_trim_whitespace(pc.unique(column.drop_null())))
    return len(words) > 0 and pc.all(pc.is_in(words, pa.array((*TRUE, *FALSE)))).as_py()


def _true(values: pa.Array) -> np.ndarray:
    return values.fill_null(False).to_numpy(zero_copy_only=False)


def _report(values: pa.Array, bad: np.ndarray, *, where: Where, expected: str, fix: str) -> list[Finding]:
    if not bad.any():
        return []
    received = values[int(np.argmax(bad))].as_py()
    return [of_rows(bad, where, f"wanted {expected}, received {received!r}", fix)]
