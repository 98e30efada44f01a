"""TOML text with the lines of its keys: tomllib gives the values and does not say where they stand."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from marketplace.finding import DataError, Finding, Where

LARGEST = 1_000_000  # bytes: what people write by hand is a hundredth of it
DEEPEST = 20  # tables within tables
WIDEST = 2**63  # TOML's whole numbers lie within
KeyPath = tuple[str | int, ...]  # ("weights", "w_click", "value"); tables of an array count from 0

# Both take time linear in the length of a line.
_HEADER = re.compile(r"\s*(\[\[?)([^\[\]]+)\]")
_KEY = re.compile(r"([^=#\[\]{}]+)=")
_QUOTES = ('"""', "'''")
_ENDLESS = re.compile(r"[0-9_]{1000}")  # more digits than Python converts


@dataclass(frozen=True)
class TomlText:
    """The values of a TOML text, and the 1-based line of every table header and key."""

    file: str
    content: dict[str, Any]
    lines: Mapping[KeyPath, int]

    def where(self, *path: str | int) -> Where:
        """The line of the key at `path`, or of the nearest table around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return Where(self.file, self.lines.get(path, 0))

    def table(self, *path: str) -> TomlText:
        """A table within as a text of its own; empty where it is absent."""
        content: Any = self.content
        for key in path:
            content = content.get(key, {}) if isinstance(content, dict) else {}
        depth = len(path)
        lines = {keys[depth:]: line for keys, line in self.lines.items() if keys[:depth] == path}
        return replace(self, content=content if isinstance(content, dict) else {}, lines=lines)

    def finding(self, path: KeyPath, reason: str, fix: str, *, key: str | None = None) -> Finding:
        """An error at `path`; `reason` is a predicate of it; the line is that of its `key`, if one is named."""
        where = self.where(*path) if key is None else self.where(*path, key)
        return Finding("fields", where, f"{label(path)} {reason}.", fix)


def label(path: KeyPath) -> str:
    """weights.w_click.value; tables of an array are spoken of from 1: constraints.1.metric."""
    return ".".join(str(key + 1) if isinstance(key, int) else key for key in path) or "the file"


def parse_toml(content: bytes | str, *, file: str) -> TomlText:
    """The values and lines of a text; raises DataError where it is too large, not UTF-8, or not TOML."""
    if len(content) > LARGEST:
        raise _refusal(Where(file), f"the file has {len(content):,} bytes", f"{LARGEST:,} is the limit.")
    text = content if isinstance(content, str) else _decoded(content, file)
    if endless := _ENDLESS.search(text):
        where = Where(file, text.count("\n", 0, endless.start()) + 1)
        raise _refusal(where, "a number has 1,000 digits or more", "Write one below 2^63, or a float such as 1e6.")
    try:
        parsed = TomlText(file, tomllib.loads(text), _lines(text))
    except (RecursionError, ValueError) as error:
        match = re.search(r"line (\d+)", str(error))
        where = Where(file, int(match.group(1)) if match else 0)
        raise _refusal(where, f"the file is not TOML: {error}", "Mend that line.") from error
    return _within_limits(parsed)


def toml_tables(content: dict[str, Any], *, file: str) -> TomlText:
    """The same from tables, as JSON has them, of which no line is known; raises DataError beyond the limits of TOML."""
    return _within_limits(TomlText(file, content, {}))


def _within_limits(text: TomlText) -> TomlText:
    if _depth(text.content) > DEEPEST:
        raise _refusal(Where(text.file), f"tables nest deeper than {DEEPEST} levels", "Write them flatter.")
    for path in _too_wide(text.content):
        raise DataError([text.finding(path, "is no whole number of 64 bits", "Write one below 2^63, or a float.")])
    return text


def _decoded(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        where = Where(file, content[: error.start].count(b"\n") + 1)
        raise _refusal(where, "the file is not UTF-8", "Save it as UTF-8.") from error


def _refusal(where: Where, reason: str, fix: str) -> DataError:
    return DataError([Finding("toml", where, f"{reason}.", fix)])


def _depth(content: dict[str, Any]) -> int:
    """Levels of tables and arrays, counted no further than `DEEPEST` + 1."""
    depth = 0
    level: list[Any] = [content]
    while level and depth <= DEEPEST:
        depth += 1
        cells = (cell for table in level for cell in (table.values() if isinstance(table, dict) else table))
        level = [cell for cell in cells if isinstance(cell, dict | list)]
    return depth


def _too_wide(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Where the whole numbers stand that TOML does not allow, and that Python may refuse to print."""
    if isinstance(value, dict | list):
        for key, cell in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _too_wide(cell, (*path, key))
    elif isinstance(value, int) and not -WIDEST <= value < WIDEST:
        yield path


def _lines(text: str) -> dict[KeyPath, int]:
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    arrays: Counter[KeyPath] = Counter()
    quote: str | None = None  # of the text of several lines that the line lies in
    for number, line in enumerate(text.split("\n"), start=1):
        if quote is not None:
            quote = None if quote in line else quote
        elif header := _HEADER.match(line):
            table = _path(header[2])
            for depth in range(len(table)):  # tables around it have a line too, though no header of their own
                lines.setdefault(table[: depth + 1], number)
            if header[1] == "[[":
                arrays[table] += 1
                table = (*table, arrays[table] - 1)
                lines[table] = number
        elif key := _KEY.match(line):
            lines.setdefault((*table, *_path(key[1])), number)
            quote = next((quote for quote in _QUOTES if line.count(quote) == 1), None)
    return lines


def _path(dotted: str) -> KeyPath:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
