"""A finding: what is wrong with a file, a table or a policy that came in, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np


class Severity(StrEnum):
    """An error makes the input unusable; a warning deserves a look."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Where:
    """A place in the input: a line of a text file, or a part (a column) and row of a table.

    Lines and rows count from 1, rows without the header; 0 = the whole.
    """

    file: str
    line: int = 0
    part: str = ""
    row: int = 0

    def __str__(self) -> str:
        line = f":{self.line}" if self.line else ""
        part = f", {self.part}" if self.part else ""
        return f"{self.file}{line}{part}" + (f", row {self.row}" if self.row else "")


@dataclass(frozen=True)
class Finding:
    """One problem, under the name of the rule that it breaks; a table's stands at the first row in which it occurs.

    `share` of the rows it holds for, where it is about rows.
    """

    rule: str
    where: Where
    reason: str
    fix: str
    severity: Severity = Severity.ERROR
    share: float = 0.0

    def __str__(self) -> str:
        return f"{self.where}: {self.severity}: {self.reason} Fix: {self.fix} [{self.rule}]"


class DataError(ValueError):
    """Input that cannot be used; `findings` are all the reasons, one a line in the message."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(map(str, self.findings)))


class FieldError(ValueError):
    """A value that a class refuses, raised where it checks itself; a reader adds in which file and line it stood.

    `reason` is a predicate of the section ("has neither of at_least and at_most"); `key` = the field of it, if one.
    """

    def __init__(self, reason: str, fix: str, *, key: str | None = None) -> None:
        self.reason, self.fix, self.key = reason, fix, key
        super().__init__(f"{reason}: {fix}")


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that make the input unusable."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def nearest(word: str, known: Sequence[str], *, listed: int = 60) -> str:
    """A fix for an unknown word: the known one that is close, and the first `listed` known ones."""
    close = difflib.get_close_matches(word, known, n=1)
    parts = [f"Did you mean {close[0]!r}?"] if close else []
    return " ".join([*parts, f"Known: {', '.join(known[:listed])}."] if listed else parts)


def of_rows(rows: np.ndarray, where: Where, reason: str, fix: str, *, severity: Severity = Severity.ERROR) -> Finding:
    """The finding on a column's values where `rows` (bool [n], one at least) is True."""
    first = replace(where, row=int(np.argmax(rows)) + 1)
    return Finding("values", first, f"{reason}{count_of_rows(int(rows.sum()))}.", fix, severity)


def count_of_rows(rows: int, *, of: int = 0) -> str:
    """How often a reason holds, behind it, with the share `of` so many: nothing for a single row."""
    share = f", {rows / of:.2%}" if of else ""
    return f" ({rows} rows{share})" if rows > 1 else ""


@dataclass(frozen=True)
class TableOrigin:
    """Where a table came from: its file, and the 1-based row there of each of its rows and of each flat item."""

    file: str
    rows: np.ndarray | None = None  # int64 [rows]; None = the table's own
    item_rows: np.ndarray | None = None  # int64 [items]
    columns: Mapping[str, str] = field(default_factory=dict)  # the file's column by the table's field

    def part(self, name: str) -> str:
        """The file's column of a field, or the field's own name where no column holds it."""
        return f"column {self.columns[name]}" if name in self.columns else name

    def row(self, index: int, *, of_item: bool = False) -> int:
        rows = self.item_rows if of_item else self.rows
        return index + 1 if rows is None else int(rows[index])
