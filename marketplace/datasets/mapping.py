"""The mapping file (TOML) that says which column of whose export is which field of the schema.

Times without an offset are in `time_zone`; amounts without a currency column are in `currency`; files are relative
to the mapping's folder.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from marketplace.finding import DataError, Finding
from marketplace.schema import EVENTS, FEEDBACK, ITEMS, MERCHANTS, SLATE, USERS

SCHEMAS: dict[str, pa.Schema] = {
    "items": ITEMS,
    "merchants": MERCHANTS,
    "users": USERS,
    "slates": SLATE,
    "feedback": FEEDBACK,
}
REQUIRED = {
    "items": ("item_id", "merchant_id", "price"),
    "merchants": ("merchant_id",),
    "users": ("user_id",),
    "slates": ("request_id", "time", "user_id", "item_id"),
    "feedback": ("event", "time", "user_id", "item_id"),
}


class Export(BaseModel):
    """One file: our field = its column, and fields that have one value everywhere."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    columns: dict[str, str]
    constants: dict[str, str | bool | float] = {}
    encoding: str = "utf-8"
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    time_format: str | None = None  # as strptime; None = ISO 8601


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

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    time_zone: str | None = None
    items: Export
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
            known = sorted(available_timezones())
            raise ValueError(f"No such time zone. {suggest(name or '', known, listed=0)}") from error

    def export(self, table: str) -> Export | None:
        return getattr(self, table)


def read_mapping(path: Path) -> Mapping:
    """The mapping in file `path`; raises DataError with the file's line and key of every mistake."""
    try:
        text = path.read_text("utf-8")
        mapping = Mapping.model_validate(tomllib.loads(text))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError([_finding(str(path), f"cannot be read: {error}", "Name a text file in UTF-8.")]) from error
    except tomllib.TOMLDecodeError as error:
        raise DataError([_finding(str(path), f"is not TOML: {error}", "Mend that line.")]) from error
    except ValidationError as error:
        raise DataError([_explain(path, text, problem) for problem in error.errors()]) from error
    findings = [*_names(path, text, mapping), *_events(path, text, mapping)]
    if mapping.slates is None and mapping.feedback is None:
        findings.append(_finding(str(path), "names neither [slates] nor [feedback]", "Add what shoppers saw or did."))
    if findings:
        raise DataError(findings)
    return mapping


def place(path: Path, text: str, keys: tuple[str, ...]) -> str:
    """As "file line 7 [items.columns] price": where a key stands, or the section in which it is missing."""
    section, key, found, line_of_section = ".".join(keys[:-1]), keys[-1], "", 1
    label = f"[{section}] {key}" if section else key
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[([^\]]+)\]", line):
            found = header[1].strip()
            line_of_section = number if found in (section, ".".join(keys)) else line_of_section
        elif found == section and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return f"{path.name} line {number} {label}"
    return f"{path.name} line {line_of_section} {label}"


def _finding(where: str, what: str, fix: str) -> Finding:
    return Finding("error", where, None, what, fix)


def _explain(path: Path, text: str, problem) -> Finding:
    keys = tuple(str(key) for key in problem["loc"])
    where = place(path, text, keys)
    if problem["type"] == "extra_forbidden":
        return _finding(where, "is no key of a mapping", _known_keys(keys))
    if problem["type"] == "missing":
        return _finding(where, "is missing", f"Add {keys[-1]!r}; docs/own_data.md shows a whole mapping.")
    return _finding(where, f"received {problem['input']!r}", f"{problem['msg']}.")


def _known_keys(keys: tuple[str, ...]) -> str:
    models: dict[str, type[BaseModel]] = {"slates": ImpressionExport, "feedback": FeedbackExport}
    model = models.get(keys[0], Export) if keys[1:] else Mapping
    return suggest(keys[-1], list(model.model_fields))


def suggest(word: str, known: list[str], *, listed: int = 60) -> str:
    """The known word that is close, and the first `listed` known ones."""
    close = difflib.get_close_matches(word, known, n=1)
    return (f"Did you mean {close[0]!r}? " if close else "") + (
        f"Known: {', '.join(known[:listed])}." if listed else ""
    )


def _names(path: Path, text: str, mapping: Mapping) -> list[Finding]:
    findings = []
    for table, schema in SCHEMAS.items():
        export = mapping.export(table)
        if export is None:
            continue
        fields = [f.name for f in schema if not pa.types.is_map(f.type)]
        for section in ("columns", "constants"):
            for name in getattr(export, section):
                if name not in fields:
                    where = place(path, text, (table, section, name))
                    findings.append(_finding(where, f"is no field of {table}", suggest(name, fields)))
        for name in REQUIRED[table]:
            if name not in export.columns and name not in export.constants:
                where = place(path, text, (table, "columns", name))
                meaning = schema.field(name).metadata[b"meaning"].decode()
                findings.append(_finding(where, f"is missing: {meaning}", f'Add {name} = "the column of your file".'))
    return findings


def _events(path: Path, text: str, mapping: Mapping) -> list[Finding]:
    words = mapping.feedback.events if mapping.feedback else {}
    return [
        _finding(
            place(path, text, ("feedback", "events", theirs)), f"{ours!r} is no event", suggest(ours, list(EVENTS))
        )
        for theirs, ours in words.items()
        if ours not in EVENTS
    ]
