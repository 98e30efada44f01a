"""Moments as exports write them: epochs, ISO 8601, PostgreSQL, any format; with offsets, named zones, or local.

A moment that carries its offset (`Z`, `+03`, `+0300`, `+03:00:00`, a named zone by `%Z`) or counts from the epoch is
that moment: `time_zone` shifts only what says nothing. A local hour that a clock change leaves out becomes the first
moment after it, one that occurs twice the earlier of the two; both are counted.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.finding import Finding, Severity, Where, errors, of_rows
from marketplace.schema import TIME

NAIVE = pa.timestamp("us")
EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}  # microseconds of one unit
ALIASES = {"%s": "epoch_s"}
EARLIEST, LATEST = (np.datetime64(f"{year}-01-01", "us").astype(np.int64) for year in (1970, 2201))
DIGITS = r"^\s*[+-]?\d+(\.\d*)?\s*$"
# What follows a clock time: a date such as 2026-03-01 ends like an offset.
OFFSET = (
    r"^(?P<local>.*\d[T ]?\d\d(?::?\d\d)?(?::?\d\d(?:[.,]\d+)?)?)\s*"
    r"(?P<offset>Z|z|UTC|GMT|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)$"
)
CLOCK = r"[T ]\d\d"
ISO_FIX = 'Write ISO 8601, such as 2026-01-31T18:30:00+03:00, or set `time_format`, such as "%d/%m/%Y %H:%M".'
ZONE_FIX = 'Set time_zone = "Asia/Riyadh" (or yours) in the mapping, or write offsets, such as +03:00.'


def times(
    values: pa.Array, *, where: Where, time_zone: str | None, time_format: str | None
) -> tuple[pa.Array, list[Finding]]:
    """Moments in UTC, null where a value is none or lies outside 1970-2200; and what was odd about them."""
    if pa.types.is_date(values.type):
        values = values.cast(NAIVE)
    if pa.types.is_timestamp(values.type):
        moments, local = _stamped(values)
        return _finished(values, moments, local, [], where=where, time_zone=time_zone)
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    time_format = ALIASES.get(time_format or "", time_format)
    text, findings = pc.utf8_trim_whitespace(_plain_text(values)), []
    unit = time_format if time_format in EPOCHS else None
    if time_format is None and (unit := _likely_epoch(values, text)) is not None:
        reason, fix = (
            f"read as {unit.removeprefix('epoch_')} since 1970 in UTC.",
            f'Set time_format = "{unit}" to say so.',
        )
        findings.append(Finding("values", where, reason, fix, Severity.WARNING))
    if unit is not None:
        moments, local = _epoch(text, EPOCHS[unit]), pa.nulls(len(text), NAIVE)
    elif time_format is None:
        moments, local = _iso(text)
    else:
        moments, local, zones = _formatted(text, time_format, where=where)
        findings += zones
    return _finished(values, moments, local, findings, where=where, time_zone=time_zone)


def _finished(
    values: pa.Array,
    moments: pa.Array,
    local: pa.Array,
    findings: list[Finding],
    *,
    where: Where,
    time_zone: str | None,
) -> tuple[pa.Array, list[Finding]]:
    """The moments with those that were written as local hours, and a finding for whatever is left out or was moved."""
    unread = _true(pc.is_valid(values)) & ~_true(pc.or_(pc.is_valid(moments), pc.is_valid(local)))
    if unread.any() and not errors(findings):
        received = values[int(np.argmax(unread))].as_py()
        findings = [of_rows(unread, where, f"wanted a time, received {received!r}", ISO_FIX)]
    zoned, odd = _localised(local, where=where, time_zone=time_zone)
    result = pc.coalesce(moments, zoned)
    micros = result.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    strange = (micros < EARLIEST) | (micros >= LATEST)
    if strange.any():
        what = f"{result[int(np.argmax(strange))].as_py():%Y-%m-%d} lies outside 1970-2200"
        odd.append(of_rows(strange, where, what, "Check the unit of the times and `time_format`."))
        result = pc.if_else(pa.array(strange), pa.scalar(None, TIME), result)
    return result, [*findings, *odd]


def _plain_text(values: pa.Array) -> pa.Array:
    """Text of any values; of decimal numbers without an exponent."""
    if not pa.types.is_floating(values.type):
        return values.cast(pa.string())
    small = pc.less(pc.abs(values), 1e18)
    digits = pc.if_else(small, values, 0.0).cast(pa.decimal128(28, 6), safe=False).cast(pa.string())
    return pc.if_else(small, digits, "no time")


def _stamped(values: pa.Array) -> tuple[pa.Array, pa.Array]:
    kind = NAIVE if values.type.tz is None else TIME
    moments = values.cast(options=pc.CastOptions(kind, allow_time_truncate=True))
    return (pa.nulls(len(values), TIME), moments) if kind == NAIVE else (moments, pa.nulls(len(values), NAIVE))


def _likely_epoch(values: pa.Array, text: pa.Array) -> str | None:
    """The unit of a column of numbers alone, told by its size: seconds, milliseconds or microseconds of 1990-2100."""
    if not pc.all(pc.match_substring_regex(text, DIGITS)).as_py():
        return None
    numbers = text.cast(pa.float64()).drop_null().to_numpy()
    low, high = (np.datetime64(f"{year}-01-01", "us").astype(np.int64) for year in (1990, 2100))
    fits = [unit for unit, micros in EPOCHS.items() if len(numbers) and low <= numbers.min() * micros < high]
    return next((unit for unit in fits if numbers.max() * EPOCHS[unit] < high), None)


def _epoch(text: pa.Array, micros: int) -> pa.Array:
    """Whole microseconds, exactly: a float holds today's microseconds, a decimal holds more than anybody writes."""
    numeric = pc.if_else(pc.match_substring_regex(text, DIGITS), text, None)
    scaled = pc.multiply(numeric.cast(pa.decimal128(28, 6), safe=False), pa.scalar(micros, pa.decimal128(8, 0)))
    whole = pc.floor(scaled).cast(pa.float64())
    fits = pc.less(pc.abs(whole), 2.0**62)
    return pc.if_else(fits, whole, None).cast(pa.int64()).cast(NAIVE).cast(TIME)


def _iso(text: pa.Array) -> tuple[pa.Array, pa.Array]:
    """(moments of what carries an offset, local times of the rest); null where a text is neither."""
    parts = pc.extract_regex(text, OFFSET)
    offset = pc.if_else(pc.match_substring_regex(text, CLOCK), pc.struct_field(parts, "offset"), None)
    carried = pc.is_valid(offset)
    local = _naive(pc.if_else(carried, pc.struct_field(parts, "local"), text))
    return pc.if_else(carried, _shifted(local, offset), None), pc.if_else(carried, None, local)


def _shifted(local: pa.Array, offset: pa.Array) -> pa.Array:
    """Local times less their offsets: moments."""
    coded = offset.dictionary_encode()
    micros = pa.array([_offset_micros(text) for text in coded.dictionary.to_pylist()], pa.int64())
    return pc.subtract(local.cast(pa.int64()), micros.take(coded.indices)).cast(NAIVE).cast(TIME)


def _offset_micros(text: str) -> int:
    """+HH, +HHMM, +HH:MM or +HH:MM:SS."""
    if text[0] not in "+-":
        return 0
    digits = text[1:].replace(":", "").ljust(6, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:6])
    return (1 if text[0] == "+" else -1) * seconds * 1_000_000


def _naive(text: pa.Array) -> pa.Array:
    """Local times of ISO 8601 in any of its forms; null where a text is none."""
    try:
        return text.cast(NAIVE)
    except pa.ArrowInvalid:
        return pa.array([_from_iso(value) for value in text.to_pylist()], NAIVE)


def _from_iso(value: str | None) -> datetime | None:
    try:
        return None if value is None else datetime.fromisoformat(value).replace(tzinfo=None)
    except ValueError:
        return None


def _formatted(text: pa.Array, time_format: str, *, where: Where) -> tuple[pa.Array, pa.Array, list[Finding]]:
    """By a strptime format: moments where it holds %z, a %Z that is known, or ends in a literal Z; else local times."""
    if "%Z" in time_format:
        return _named_zones(text, time_format, where=where)
    parsed = pc.strptime(text, format=time_format, unit="us", error_is_null=True)
    if parsed.type.tz is None and not time_format.endswith("Z"):
        return pa.nulls(len(text), TIME), parsed, []
    return parsed.cast(TIME), pa.nulls(len(text), NAIVE), []


def _named_zones(text: pa.Array, time_format: str, *, where: Where) -> tuple[pa.Array, pa.Array, list[Finding]]:
    """A zone's name at the end of each time: UTC, GMT or one of the time zone database; others are ambiguous."""
    stem, names = time_format.replace("%Z", "").rstrip(), pc.extract_regex(text, r"(?P<zone>[A-Za-z][\w+/-]*)$")
    zone = pc.struct_field(names, "zone")
    local = pc.strptime(
        pc.utf8_trim_whitespace(pc.replace_substring_regex(text, r"[A-Za-z][\w+/-]*$", "")),
        format=stem,
        unit="us",
        error_is_null=True,
    )
    moments, findings = pa.nulls(len(text), TIME), []
    for name in pc.unique(zone).drop_null().to_pylist():
        rows = pc.equal(zone, name).fill_null(False)
        if not _is_zone(name):
            what, fix = f"no such time zone: {name!r}", "Write offsets (+03:00) or names such as Asia/Riyadh or UTC."
            findings.append(of_rows(_true(rows), where, what, fix))
            continue
        zoned, odd = _localised(pc.if_else(rows, local, None), where=where, time_zone=name)
        moments, findings = pc.coalesce(moments, zoned), [*findings, *odd]
    return moments, pa.nulls(len(text), NAIVE), findings


def _is_zone(name: str) -> bool:
    try:
        return name in ("UTC", "GMT") or ("/" in name and ZoneInfo(name) is not None)
    except (ZoneInfoNotFoundError, ValueError):
        return False


def _localised(local: pa.Array, *, where: Where, time_zone: str | None) -> tuple[pa.Array, list[Finding]]:
    """Local times as moments of `time_zone`, with what a clock change makes of them."""
    written = _true(pc.is_valid(local))
    if not written.any():
        return pa.nulls(len(local), TIME), []
    if time_zone is None:
        first = local[int(np.argmax(written))]
        return pa.nulls(len(local), TIME), [of_rows(written, where, f"times without a time zone: {first}", ZONE_FIX)]
    early, late = (
        pc.assume_timezone(local, time_zone, ambiguous=choice, nonexistent="latest")
        for choice in ("earliest", "latest")
    )
    twice = _true(pc.not_equal(early, late))
    moved = _true(pc.not_equal(pc.local_timestamp(early), local))
    cases = ((twice, "occur twice", "the earlier is taken"), (moved, "do not exist", "the first moment after is taken"))
    findings = [
        of_rows(
            rows,
            where,
            f"hours that {what} when clocks change in {time_zone}: {choice}",
            ZONE_FIX,
            severity=Severity.WARNING,
        )
        for rows, what, choice in cases
        if rows.any()
    ]
    return early.cast(TIME), findings


def _true(values: pa.Array) -> np.ndarray:
    return values.fill_null(False).to_numpy(zero_copy_only=False)
