"""Import items from a CSV or Parquet file into a service or into a run's log, as `PUT /v1/items` takes them.

Columns bear the names of the fields (`serving.catalogue_payloads.ItemUpdate`); `attributes.brand`, `numeric.weight` and
`text.description` are entries of maps. An empty cell leaves its field as it is.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from pydantic import ValidationError

from marketplace.catalogue_records import Fate, Subject
from marketplace.finding import DataError, Finding, Where, count_of_rows, nearest
from marketplace.sqlite_log import SqliteLog
from serving.bundle import load_bundle
from serving.catalogue_payloads import MAX_UPDATES, ItemsRequest, ItemUpdate, item_updates
from serving.client import Client, ClientSettings, NoAnswer
from serving.manifest import bundle_of
from serving.payloads import MAX_BODY_BYTES

MAPS = ("attributes", "numeric", "text")
NUMBERS = ("price", "margin", "version")
FLAGS = ("in_stock", "hidden", "blocked")
YES_OR_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
KEY = "VALUE_MODEL_KEY"  # environment: the key of scope `catalogue`, where the service has keys
SECONDS = 60.0  # that a service may take over a batch

Counts = Counter[Fate]


def import_items(file: Path, target: str, *, version: int | None, dry_run: bool) -> int:
    """Write the rows of `file` into `target`, a service's address or a run's folder; the exit code, 1 = some unknown.

    Raises DataError, and nothing is written, where a row cannot be read.
    """
    items = read_items(file, version=file.stat().st_mtime_ns // 1_000_000 if version is None else version)
    if dry_run:
        print(f"{file}: {len(items):,} items can be read; nothing was written")
        return 0
    send = _to_service(target) if target.startswith(("http://", "https://")) else _to_run(Path(target))
    fates: Counts = Counter()
    unknown: list[str] = []
    for batch in _batches(items):
        accepted, stale, names = send(batch)
        fates.update({Fate.ACCEPTED: accepted, Fate.STALE: stale, Fate.UNKNOWN: len(names)})
        unknown += names
    counts = ", ".join(f"{fates[fate]:,} {fate}" for fate in Fate)
    print(f"{file}: {len(items):,} items: {counts}")
    if unknown:
        more = f" and {len(unknown) - 10:,} more" if len(unknown) > 10 else ""
        print(f"   unknown, and without merchant_id, category and price: {', '.join(unknown[:10])}{more}")
    return int(bool(unknown))


def read_items(file: Path, *, version: int) -> list[ItemUpdate]:
    """The rows of the file, checked; `version` is that of rows without their own. Raises DataError."""
    table = _table(file)
    fields = [*ItemUpdate.model_fields, *(f"{name}.NAME" for name in MAPS)]
    if unknown := [name for name in table.column_names if not _is_field(name)]:
        places = [(Where(file.name, part=name), nearest(name, fields)) for name in unknown]
        raise DataError(Finding("columns", where, "is no field of an item.", fix) for where, fix in places)
    items: list[ItemUpdate] = []
    wrong: dict[tuple[str, str], list[int]] = {}
    for row, cells in enumerate(table.to_pylist(), 1):
        try:
            items.append(ItemUpdate.model_validate_json(orjson.dumps({"version": version, **_fields(cells)})))
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                place = ".".join(map(str, problem["loc"])), f"{problem['msg']}; received {problem['input']!r:.40}"
                wrong.setdefault(place, []).append(row)
    if wrong:
        raise DataError(
            Finding(
                "values",
                Where(file.name, part=column, row=rows[0]),
                f"{reason}{count_of_rows(len(rows))}.",
                "Correct the cell, or leave it empty. Nothing was written.",
            )
            for (column, reason), rows in wrong.items()
        )
    return items


def _table(file: Path) -> pa.Table:
    """Text of a CSV; a Parquet file's own types."""
    try:
        if file.suffix == ".parquet":
            return pq.read_table(file)
        names = pacsv.open_csv(file).schema.names
        as_text = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True)
        return pacsv.read_csv(file, convert_options=as_text)
    except (OSError, pa.ArrowInvalid) as error:
        fix = "Write CSV with one header line, in UTF-8, or Parquet (.parquet)."
        raise DataError([Finding("file", Where(file.name), f"cannot be read: {error}.", fix)]) from error


def _is_field(column: str) -> bool:
    group, dot, name = column.partition(".")
    return (group in MAPS and bool(name)) if dot else column in ItemUpdate.model_fields


def _fields(cells: dict[str, Any]) -> dict[str, Any]:
    """The cells that hold something, entries of maps together, text as the numbers and flags that it means."""
    fields: dict[str, Any] = {}
    for column, cell in cells.items():
        if cell is None or cell == "":
            continue
        group, dot, name = column.partition(".")
        value = _meant(group, cell) if isinstance(cell, str) else cell
        if dot:
            fields.setdefault(group, {})[name] = value
        else:
            fields[column] = dict(value) if column in MAPS else value
    return fields


def _meant(field: str, text: str) -> Any:
    """What a text means in a field; itself where it does not, so that the check says what was received."""
    if field in FLAGS:
        return YES_OR_NO.get(text.strip().lower(), text)
    if field in NUMBERS or field == "numeric":
        with suppress(ValueError):
            return int(text) if field == "version" else float(text)
    return text


def _batches(items: Sequence[ItemUpdate]) -> Iterator[ItemsRequest]:
    """In order, each within the limits of a body."""
    batch: list[ItemUpdate] = []
    room = 0
    for item in items:
        size = len(item.model_dump_json(exclude_unset=True).encode()) + 1
        if batch and (len(batch) == MAX_UPDATES or size > room):
            yield ItemsRequest(items=batch)
            batch = []
        room = (room if batch else MAX_BODY_BYTES - 100) - size
        batch.append(item)
    if batch:
        yield ItemsRequest(items=batch)


def _to_service(address: str) -> Any:
    service = Client(address, ClientSettings(key=os.environ.get(KEY), timeout=SECONDS))

    def send(batch: ItemsRequest) -> tuple[int, int, list[str]]:
        try:
            answer = service.put_items(batch)
        except NoAnswer as error:
            reason = "Earlier batches are written; the same file may be imported again."
            raise ValueError(f"{address} does not answer: {error}. {reason}") from error
        return answer.accepted, len(answer.stale), answer.unknown

    return send


def _to_run(folder: Path) -> Any:
    catalogue = load_bundle(bundle_of(folder)).catalogue
    known, log = set(catalogue.items["item_id"].to_pylist()), SqliteLog(folder / "log.sqlite")

    def send(batch: ItemsRequest) -> tuple[int, int, list[str]]:
        updates = item_updates(batch, currency=catalogue.currency)
        fates = log.put_catalogue(Subject.ITEM, updates, known=known, time=datetime.now(UTC)).fates
        unknown = [one.name for one, fate in zip(updates, fates, strict=True) if fate is Fate.UNKNOWN]
        return fates.count(Fate.ACCEPTED), fates.count(Fate.STALE), unknown

    return send
