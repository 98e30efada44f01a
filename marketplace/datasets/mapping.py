"""The mapping file (TOML) that says which column of whose export is which field of the schema.

Times without an offset are in `time_zone`; amounts without a currency column are in `currency`; files are relative
to the mapping's folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from marketplace.dataset import SCHEMAS
from marketplace.finding import DataError, FieldError, Finding, nearest
from marketplace.schema import EVENTS
from marketplace.toml_model import CurrencyCode, as_model
from marketplace.toml_text import TomlText

REQUIRED = {
    "items": ("item_id", "merchant_id", "price"),
    "merchants": ("merchant_id",),
    "users": ("user_id",),
    "slates": ("request_id", "time", "user_id", "item_id"),
    "feedback": ("event", "time", "user_id", "item_id"),
}


class Export(BaseModel):
    """One file: our field = its column, and fields that have one value everywhere."""

    model_config = ConfigDict(frozen=True)

    file: str
    columns: dict[str, str]
    constants: dict[str, str | bool | float] = {}
    encoding: str = "utf-8"
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    time_format: str | None = None  # as strptime; None = ISO 8601


class ItemExport(Export):
    """One row an item; `attributes` keeps further columns by name, such as its brand."""

    attributes: dict[str, str] = {}


class ImpressionExport(Export):
    """One row an impression; rows of one request_id make a slate. Extra columns can be kept by name."""

    context: dict[str, str] = {}
    numeric: dict[str, str] = {}
    categorical: dict[str, str] = {}


class FeedbackExport(Export):
    """One row an event; `events` translates its words into ours."""

    events: dict[str, str] = {}


class Mapping(BaseModel):
    """The whole mapping file."""

    model_config = ConfigDict(frozen=True)

    name: str
    currency: CurrencyCode
    time_zone: str | None = None
    items: ItemExport
    merchants: Export | None = None
    users: Export | None = None
    slates: ImpressionExport | None = None
    feedback: FeedbackExport | None = None

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        try:
            return name if name is None else ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError) as error:
            fix = nearest(name or "", sorted(available_timezones()), listed=0) or 'Write such as "Asia/Riyadh".'
            raise FieldError(f"is {name!r:.40}, which is no time zone", fix) from error

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> Mapping:
        if self.slates is None and self.feedback is None:
            raise FieldError("names neither [slates] nor [feedback]", "Add what shoppers saw or did.")
        return self

    def export(self, table: str) -> Export | None:
        return getattr(self, table)


def read_mapping(text: TomlText) -> Mapping:
    """The mapping that a text holds; raises DataError with the line and key of every mistake."""
    mapping = as_model(text, Mapping)
    findings = [*_fields(text, mapping), *_events(text, mapping)]
    if findings:
        raise DataError(findings)
    return mapping


def _fields(text: TomlText, mapping: Mapping) -> Iterator[Finding]:
    for table, schema in SCHEMAS.items():
        export = mapping.export(table)
        if export is None:
            continue
        fields = [f.name for f in schema if not pa.types.is_map(f.type)]
        for section in ("columns", "constants"):
            for name in getattr(export, section):
                if name not in fields:
                    yield text.finding((table, section, name), f"is no field of {table}", nearest(name, fields))
        for name in REQUIRED[table]:
            if name not in export.columns and name not in export.constants:
                meaning = schema.field(name).metadata[b"meaning"].decode()
                fix = f'Add {name} = "the column of your file".'
                yield text.finding((table, "columns", name), f"is missing: {meaning}", fix)


def _events(text: TomlText, mapping: Mapping) -> Iterator[Finding]:
    words = mapping.feedback.events if mapping.feedback else {}
    for theirs, ours in words.items():
        if ours not in EVENTS:
            yield text.finding(("feedback", "events", theirs), f"is {ours!r}, which is no event", nearest(ours, EVENTS))
