"""The mapping file (TOML) that says which column of whose export is which field of the schema.

Times without an offset are in `time_zone`; amounts without a currency column are in `currency`; files are relative
to the mapping's folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from marketplace.dataset import SCHEMAS
from marketplace.finding import DataError, FieldError, Finding, nearest
from marketplace.schema import (
    EVENTS,
    FORMULA_PREFIX,
    LISTS_SINCE,
    RELEVANCE,
    RESERVED_CONTEXT,
    RULE_PREFIX,
    SHADOW_PRICE,
    SURFACES,
    TIER,
)
from marketplace.toml_model import CurrencyCode, as_model
from marketplace.toml_text import TomlText, parse_toml

REQUIRED = {
    "items": ("item_id", "merchant_id", "price"),
    "merchants": ("merchant_id",),
    "users": ("user_id",),
    "slates": ("request_id", "time", "user_id", "item_id"),
    "feedback": ("event", "time", "user_id", "item_id"),
}


# Sections of further columns by table: a name of one's own = the file's column. Of a slate the first three are of its
# items, the others of the request.
FURTHER = {
    "items": ("numeric", "dates", "categorical", "attributes", "text"),
    "users": ("numeric", "dates", "categorical"),
    "slates": ("numeric", "dates", "categorical", "request_numeric", "request_dates", "context"),
}
# What fields are derived from, beside those of the schema.
DERIVING: dict[str, dict[str, pa.DataType]] = {
    "items": {"cost": pa.float64()},  # margin = (price - cost) / price
    "slates": {"device_id": pa.string()},  # stands in for an anonymous shopper
    "feedback": {
        "device_id": pa.string(),
        "order_id": pa.string(),  # names the lines of an order
        "quantity": pa.float64(),  # amount = quantity x unit_price
        "unit_price": pa.float64(),
    },
}
INSTEAD_OF_SHOPPERS = {  # fields that a missing user_id is told by
    "users": set[str](),
    "slates": {"session_id", "device_id"},
    "feedback": {"session_id", "device_id", "request_id", "order_id"},
}
IGNORED = "ignore"
WORDS = {  # fields of few words: the section that translates the export's, and ours
    ("slates", "surface"): ("surfaces", SURFACES),
    ("feedback", "event"): ("events", (*EVENTS, IGNORED)),
}
OF_SHOPPERS = ("user_segment", "user_country")  # what may group shoppers, of their table
RESERVED = RESERVED_CONTEXT | {RELEVANCE, LISTS_SINCE, SHADOW_PRICE, TIER}


def _zone(name: str | None) -> str | None:
    try:
        return name if name is None else ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError) as error:
        fix = nearest(name or "", sorted(available_timezones()), listed=0) or 'Write such as "Asia/Riyadh".'
        raise FieldError(f"is {name!r:.40}, which is no time zone", fix) from error


TimeZone = Annotated[str | None, AfterValidator(_zone)]


class Export(BaseModel):
    """One file: our field = its column, and fields that have one value everywhere."""

    model_config = ConfigDict(frozen=True)

    file: str
    columns: dict[str, str]
    constants: dict[str, str | bool | float] = {}
    encoding: str = "utf-8"
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    time_format: str | None = None  # as strptime, or epoch_s, epoch_ms, epoch_us; None = ISO 8601
    time_zone: TimeZone = None  # of this file's times without an offset; None = the mapping's


class ItemExport(Export):
    """One row an item; further columns are kept by name, `attributes` and `categorical` alike."""

    numeric: dict[str, str] = {}
    dates: dict[str, str] = {}
    categorical: dict[str, str] = {}
    attributes: dict[str, str] = {}
    text: dict[str, str] = {}


class UserExport(Export):
    """One row a shopper; further columns are kept by name."""

    numeric: dict[str, str] = {}
    dates: dict[str, str] = {}
    categorical: dict[str, str] = {}


class ImpressionExport(Export):
    """One row an impression; rows of one request_id make a slate. Further columns are kept by name."""

    numeric: dict[str, str] = {}
    dates: dict[str, str] = {}
    categorical: dict[str, str] = {}
    surfaces: dict[str, str] = {}  # words of its column of surfaces = ours
    labels: dict[str, str] = {}  # event = the column that says whether it happened; amount
    first_position: Literal[0, 1] | None = None  # the number of the first place
    request_numeric: dict[str, str] = {}
    request_dates: dict[str, str] = {}
    context: dict[str, str] = {}


class FeedbackExport(Export):
    """One row an event; `events` translates its words into ours, or into "ignore"."""

    events: dict[str, str] = {}


class Mapping(BaseModel):
    """The whole mapping file."""

    model_config = ConfigDict(frozen=True)

    name: str
    currency: CurrencyCode
    time_zone: TimeZone = None
    currencies: dict[str, Annotated[float, Field(gt=0)]] = {}  # what one of another currency is worth in `currency`
    features: tuple[str, ...] | None = None  # names of further columns that models read; None = all
    ignore: tuple[str, ...] = ()  # those that they do not
    segment: str = OF_SHOPPERS[0]  # what groups shoppers: one of OF_SHOPPERS, or a name under [slates.context]
    has_text: bool = True  # names and queries are worth reading
    whole_lists: bool = False  # lists are ranked as a whole: models compare an item with the others of its list
    closed: bool = False  # whether nothing can still come of what was shown, as of an experiment long over
    items: ItemExport
    merchants: Export | None = None
    users: UserExport | None = None
    slates: ImpressionExport | None = None
    feedback: FeedbackExport | None = None

    def export(self, table: str) -> Export | None:
        return getattr(self, table)

    def further(self, table: str, section: str) -> dict[str, str]:
        """Column by name of one of FURTHER."""
        return getattr(self.export(table), section, {})

    def columns(self, table: str) -> set[str]:
        """The columns of an export that some line of the mapping uses."""
        sections = ("columns", "labels", *FURTHER.get(table, ()))
        return {column for section in sections for column in self.further(table, section).values()}


def read_mapping(text: TomlText) -> Mapping:
    """The mapping that a text holds; raises DataError with the line and key of every mistake."""
    mapping = as_model(text, Mapping)
    findings = [*_fields(text, mapping), *_words(text, mapping), *_names(text, mapping)]
    if findings:
        raise DataError(findings)
    return mapping


def _fields(text: TomlText, mapping: Mapping) -> Iterator[Finding]:
    for table, schema in SCHEMAS.items():
        export = mapping.export(table)
        if export is None:
            continue
        fields = [*(f.name for f in schema if not pa.types.is_map(f.type)), *DERIVING.get(table, ())]
        for section in ("columns", "constants"):
            for name in getattr(export, section):
                if name not in fields:
                    yield text.finding((table, section, name), f"is no field of {table}", nearest(name, fields))
        present = export.columns.keys() | export.constants.keys()
        for name in REQUIRED[table]:
            if name not in present and not (name == "user_id" and present & INSTEAD_OF_SHOPPERS[table]):
                meaning = schema.field(name).metadata[b"meaning"].decode()
                fix = f'Add {name} = "the column of your file".'
                yield text.finding((table, "columns", name), f"is missing: {meaning}", fix)


def _words(text: TomlText, mapping: Mapping) -> Iterator[Finding]:
    for (table, field), (section, known) in WORDS.items():
        for theirs, ours in getattr(mapping.export(table), section, {}).items():
            if ours not in known:
                yield text.finding((table, section, theirs), f"is {ours!r}, which is no {field}", nearest(ours, known))
    labels = mapping.slates.labels if mapping.slates else {}
    for name in labels:
        if name not in (*EVENTS, "amount"):
            fix = nearest(name, (*EVENTS, "amount"))
            yield text.finding(("slates", "labels", name), "is neither an event nor the amount", fix)


def _names(text: TomlText, mapping: Mapping) -> Iterator[Finding]:
    """Further columns have one name each; `features` and `ignore` name some of them."""
    known: dict[str, str] = {}
    for table, section in ((table, section) for table, sections in FURTHER.items() for section in sections):
        for name in mapping.further(table, section):
            if name in RESERVED or name.startswith((FORMULA_PREFIX, RULE_PREFIX)):
                yield text.finding((table, section, name), "is a name that the service uses itself", "Choose another.")
            if name in known:
                reason = f"is the name of another column, under [{known[name]}]"
                yield text.finding((table, section, name), reason, f"Choose another, such as {table}_{name}.")
            known.setdefault(name, f"{table}.{section}")
    groups = (*OF_SHOPPERS, *mapping.further("slates", "context"))
    if mapping.segment not in groups:
        reason = f"is {mapping.segment!r}, which groups no shoppers"
        yield text.finding(("segment",), reason, nearest(mapping.segment, groups))
    for key, names in (("features", mapping.features or ()), ("ignore", mapping.ignore)):
        for name in names:
            if name not in known:
                fix = nearest(name, list(known)) if known else "Name columns, such as under [items.numeric]."
                yield text.finding((key,), f"names {name!r}, which is no further column of the mapping", fix)


def time_zone_of(path: Path) -> tzinfo:
    """The zone of a mapping file's times without an offset; UTC where it names none or cannot be read."""
    try:
        zone = read_mapping(parse_toml(path.read_bytes(), file=str(path))).time_zone
    except (DataError, OSError):
        zone = None
    return UTC if zone is None else ZoneInfo(zone)


def files_of(path: Path) -> list[Path]:
    """A mapping file and those that it names, as far as it can be read."""
    try:
        mapping = read_mapping(parse_toml(path.read_bytes(), file=str(path)))
    except (DataError, OSError):
        return [path]
    names = [export.file for export in map(mapping.export, SCHEMAS) if export is not None]
    patterns = [file for name in names if "*" in name for file in sorted(path.parent.glob(name))]
    return [path, *(path.parent / name for name in names if "*" not in name), *patterns]
