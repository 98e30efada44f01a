"""Reading an export into its columns: CSV, Parquet or JSON lines; one file, a folder, or all that a pattern names.

Conventions: a bad or empty value becomes null and its finding says how many there are, the first row (counted from 1
without the header) and what was received.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.dataset as pads
import pyarrow.json as pajson
import pyarrow.parquet as pq

from marketplace.datasets.mapping import Export
from marketplace.finding import DataError, Finding, Where, of_rows


def read_export(folder: Path, export: Export, columns: Collection[str]) -> tuple[pa.Table, list[str], list[Finding]]:
    """The file's columns among `columns`, the names of its others, and what was odd.

    Text of a CSV, a Parquet file's own types; raises DataError where nothing can be read.
    """
    try:
        parts = [_read(path, export, columns) for path in _paths(folder, export.file)]
        table = _without_empty_text(pa.concat_tables([part.table for part in parts], promote_options="permissive"))
    except (OSError, pa.ArrowInvalid, UnicodeError, LookupError, csv.Error) as error:
        reason = f"the file cannot be read: {error}."
        raise DataError([Finding("file", Where(export.file), reason, _reading_fix(error))]) from error
    if len(table) == 0:
        fix = "Export it again, or leave it out."
        raise DataError([Finding("file", Where(export.file), "the file has no rows.", fix)])
    unused = list(dict.fromkeys(name for part in parts for name in part.unused))
    return table, unused, [finding for part in parts for finding in part.findings]


class _Part(NamedTuple):
    """What one file of an export holds."""

    table: pa.Table
    unused: list[str]
    findings: list[Finding]


def _paths(folder: Path, name: str) -> list[Path]:
    """The file itself, a folder of Parquet as one, or by name all files of a folder or a pattern (`events/*.csv`)."""
    path = folder / name
    if path.is_dir() and not any(path.rglob("*.parquet")):
        paths = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith((".", "_")))
    else:
        paths = sorted(folder.glob(name)) if any(mark in name for mark in "*?[") else [path]
    if not paths:
        raise FileNotFoundError(f"no file is called {name}")
    return paths


def _read(path: Path, export: Export, columns: Collection[str]) -> _Part:
    plain_name = path.name.removesuffix(".gz")
    if path.is_dir() or plain_name.endswith((".parquet", ".pq")):
        return _read_parquet(path, export, columns)
    if plain_name.endswith((".jsonl", ".ndjson", ".json")):
        return _read_json(path, columns)
    return _read_csv(path, export, columns)


def _divided(names: Sequence[str], columns: Collection[str]) -> tuple[list[str], list[str]]:
    """A file's columns that the mapping uses, and the others."""
    return [name for name in names if name in columns], [name for name in names if name not in columns]


def _read_json(path: Path, columns: Collection[str]) -> _Part:
    """JSON lines; times stay text, for the mapping says how they are written."""
    table = pajson.read_json(path)
    text = [pa.field(spec.name, pa.string()) for spec in table.schema if pa.types.is_temporal(spec.type)]
    if text:
        table = pajson.read_json(path, parse_options=pajson.ParseOptions(explicit_schema=pa.schema(text)))
    used, unused = _divided(table.column_names, columns)
    return _Part(table.select(used), unused, [])


def _reading_fix(error: Exception) -> str:
    if isinstance(error, UnicodeError | LookupError):
        return 'Save it as UTF-8, or set `encoding`, such as "windows-1256" for Arabic from Excel.'
    kinds = "CSV (.csv, .csv.gz), Parquet (.parquet) or JSON lines (.jsonl)"
    return f"Check the path, relative to the mapping's folder, and that it is {kinds}."


def _read_parquet(path: Path, export: Export, columns: Collection[str]) -> _Part:
    used, unused = _divided(pads.dataset(path, format="parquet", partitioning="hive").schema.names, columns)
    table = pq.read_table(path, columns=used)
    table.validate(full=True)  # text that is not UTF-8 would surface much later
    table, findings = _decode_all(table, export)
    return _Part(table, unused, findings)


def _read_csv(path: Path, export: Export, columns: Collection[str]) -> _Part:
    used, unused = _divided(_header(path, export), columns)
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
            column_types={name: pa.binary() for name in used},
            include_columns=list(dict.fromkeys(used)),
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
    table, findings = _decode_all(table, export)
    return _Part(table, unused, ([_broken(export.file, broken)] if broken else []) + findings)


def _header(path: Path, export: Export) -> list[str]:
    """The names of a CSV's columns; raises UnicodeError where they are no text in the export's encoding."""
    with (
        _opened(path) as binary,
        io.TextIOWrapper(binary, export.encoding, errors="surrogateescape", newline="") as file,
    ):
        names = next(filter(None, csv.reader(file, delimiter=export.delimiter)), [])
    return [name.encode(errors="surrogateescape").decode().removeprefix("\ufeff") for name in names]


def _decode_all(table: pa.Table, export: Export) -> tuple[pa.Table, list[Finding]]:
    """`table` with its bytes as text."""
    findings = []
    for index, spec in enumerate(table.schema):
        if pa.types.is_binary(spec.type) or pa.types.is_large_binary(spec.type):
            where = Where(export.file, part=f"column {spec.name}")
            column, undecodable = _decode(table[spec.name], where=where)
            table = table.set_column(index, spec.name, column)
            findings += undecodable
        elif pa.types.is_large_string(spec.type):  # as pandas writes it
            table = table.set_column(index, spec.name, table[spec.name].cast(pa.string()))
    return table, findings


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _without_empty_text(table: pa.Table) -> pa.Table:
    """`table` with null for each empty text: a CSV knows no difference, so that other files make none."""
    for index, name in enumerate(table.column_names):
        column = table[name]
        if pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type):
            column = column.cast(pa.string())
        if pa.types.is_string(column.type):
            table = table.set_column(index, name, pc.if_else(pc.equal(column, ""), None, column))
    return table


def _readable(path: Path, encoding: str) -> bool:
    """Whether the file's bytes are text in `encoding`."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with _opened(path) as file:
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
