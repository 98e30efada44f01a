"""Reading one exported file (CSV or Parquet) into typed columns, with a finding for every kind of bad value.

Conventions: a bad or empty value becomes null and its finding says how many there are, the first row (counted from 1
without the header) and what was received.
"""

from __future__ import annotations

import codecs
import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from marketplace.datasets.mapping import Export
from marketplace.datasets.times import times
from marketplace.finding import DataError, Finding, Where, of_rows

NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
WORD_NUMBER = r"(?i)^\s*([+-]?inf(inity)?|nan)\s*$"
TRUE, FALSE = ("true", "1", "yes", "y", "t"), ("false", "0", "no", "n", "f")


def read_export(folder: Path, export: Export) -> tuple[pa.Table, list[Finding]]:
    """The file's columns: text of a CSV, a Parquet file's own types; raises DataError where nothing can be read."""
    try:
        path = folder / export.file
        table, findings = _read_parquet(path, export) if path.suffix in (".parquet", ".pq") else _read_csv(path, export)
    except (OSError, pa.ArrowInvalid, UnicodeError, LookupError, csv.Error) as error:
        reason = f"the file cannot be read: {error}."
        raise DataError([Finding("file", Where(export.file), reason, _reading_fix(error))]) from error
    if len(table) == 0:
        fix = "Export it again, or leave it out."
        raise DataError([Finding("file", Where(export.file), "the file has no rows.", fix)])
    return table, findings


def _reading_fix(error: Exception) -> str:
    if isinstance(error, UnicodeError | LookupError):
        return 'Save it as UTF-8, or set `encoding`, such as "windows-1256" for Arabic from Excel.'
    return "Check the path, relative to the mapping's folder, and that it is a CSV (.csv) or Parquet (.parquet) file."


def _read_parquet(path: Path, export: Export) -> tuple[pa.Table, list[Finding]]:
    table = pq.read_table(path)
    table.validate(full=True)  # text that is not UTF-8 would surface much later
    return _decode_all(table, export)


def _read_csv(path: Path, export: Export) -> tuple[pa.Table, list[Finding]]:
    with path.open(encoding=export.encoding, errors="replace", newline="") as file:
        header = next(filter(None, csv.reader(file, delimiter=export.delimiter)), [])
    broken: list[pacsv.InvalidRow] = []

    def skip(row: pacsv.InvalidRow) -> str:
        broken.append(row)
        return "skip"

    table = pacsv.read_csv(
        path,
        read_options=pacsv.ReadOptions(encoding=export.encoding, use_threads=False),
        parse_options=pacsv.ParseOptions(
            delimiter=export.delimiter,
            newlines_in_values=True,
            # Arrow's handler loses broken rows that are not UTF-8: in such a file the first broken row is an error.
            invalid_row_handler=skip if _readable(path, export.encoding) else None,
        ),
        convert_options=pacsv.ConvertOptions(
            column_types={name.removeprefix("\ufeff"): pa.binary() for name in header},
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
    table, findings = _decode_all(table, export)
    return table, ([_broken(export.file, broken)] if broken else []) + findings


def _decode_all(table: pa.Table, export: Export) -> tuple[pa.Table, list[Finding]]:
    """`table` with its bytes as text."""
    findings = []
    for index, spec in enumerate(table.schema):
        spec.name.encode()  # raises UnicodeError for a header that is not UTF-8
        if pa.types.is_binary(spec.type) or pa.types.is_large_binary(spec.type):
            where = Where(export.file, part=f"column {spec.name}")
            column, undecodable = _decode(table[spec.name], where=where)
            table = table.set_column(index, spec.name, column)
            findings += undecodable
    return table, findings


def _readable(path: Path, encoding: str) -> bool:
    """Whether the file's bytes are text in `encoding`."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _broken(name: str, rows: list[pacsv.InvalidRow]) -> Finding:
    first = rows[0]
    where = Where(name, row=0 if first.number is None else first.number - 1)
    reason = f"{len(rows)} rows have another number of columns than the header ({first.expected_columns}); "
    reason += f"the first has {first.actual_columns}: {first.text[:80]!r}."
    return Finding("file", where, reason, "Quote values that contain the delimiter, or set `delimiter`.")


def _decode(column: pa.ChunkedArray, *, where: Where) -> tuple[pa.ChunkedArray, list[Finding]]:
    try:
        return column.cast(pa.string()), []
    except pa.ArrowInvalid:
        cells = column.to_pylist()
    good = [_utf8(cell) for cell in cells]
    bad = np.array([cell is not None and text is None for cell, text in zip(cells, good, strict=True)])
    fix = 'Save the file as UTF-8, or set `encoding`, such as "windows-1256" for Arabic from Excel.'
    received = cells[int(np.argmax(bad))]
    return pa.chunked_array([pa.array(good, pa.string())]), [of_rows(bad, where, f"not UTF-8: {received!r}", fix)]


def _utf8(cell: bytes | None) -> str | None:
    try:
        return None if cell is None else cell.decode("utf-8")
    except UnicodeDecodeError:
        return None


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
        return values.cast(pa.string()), []
    return _numbers(values, kind, where=where)


def _wrong_type(values: pa.Array, kind: pa.DataType, where: Where, error: Exception) -> Finding:
    reason = f"the column is {values.type}: {error}."
    return Finding("values", where, reason, f"Export the column as {kind}.")


def _numbers(values: pa.Array, kind: pa.DataType, *, where: Where) -> tuple[pa.Array, list[Finding]]:
    if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
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
