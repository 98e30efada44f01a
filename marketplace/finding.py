"""What is wrong with data that comes in, said so that one can mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Finding:
    """One kind of trouble in one place; `row` is the first one it occurs in, counted from 1 without the header."""

    severity: Literal["error", "warning"]
    where: str  # file or table, and column
    row: int | None
    what: str  # what was received
    fix: str  # what to do about it

    def __str__(self) -> str:
        row = "" if self.row is None else f", row {self.row}"
        return f"{self.severity}: {self.where}{row}: {self.what} -> {self.fix}"


class DataError(ValueError):
    """Data that cannot be used; `findings` say why."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = list(findings)
        super().__init__("\n".join(map(str, self.findings)))


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that make data unusable."""
    return [finding for finding in findings if finding.severity == "error"]


@dataclass(frozen=True)
class Source:
    """Where a table came from: its name, and the 1-based row there of each of its rows and of each flat item."""

    name: str
    rows: np.ndarray | None = None  # int64 [rows]; None = the table's own
    item_rows: np.ndarray | None = None  # int64 [items]

    def row(self, index: int, *, of_item: bool = False) -> int:
        rows = self.item_rows if of_item else self.rows
        return index + 1 if rows is None else int(rows[index])
