"""On which line of a TOML file a key stands: tomllib does not say, and an error should."""

from __future__ import annotations

import re
from collections import Counter

_HEADER = re.compile(r"^\s*(\[+)\s*([^\]]+?)\s*\]+")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\-\"']+)\s*=")
_QUOTES = ('"""', "'''")


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """1-based line of every table header and key, by path such as ("weights", "w_click", "value").

    Tables of an array are counted from 1: ("constraints", "2", "metric").
    """
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    counted: Counter[tuple[str, ...]] = Counter()
    inside: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if inside is not None:
            inside = None if inside in line else inside
            continue
        if header := _HEADER.match(line):
            table = _path(header.group(2))
            found.setdefault(table, number)
            if header.group(1) == "[[":
                counted[table] += 1
                table = (*table, str(counted[table]))
                found[table] = number
        elif key := _KEY.match(line):
            found.setdefault((*table, *_path(key.group(1))), number)
            inside = next((quote for quote in _QUOTES if line.count(quote) == 1), None)
    return found


def _path(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
