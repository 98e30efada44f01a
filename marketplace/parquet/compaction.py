"""Compaction: the small files of a day become few, and what stands there twice under one id stands there once.

The new files are there before the old ones go, so that a kill loses nothing: what stands in both counts once wherever
it is read, and the next compaction drops it. Whoever began to read the day before has to begin again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from marketplace.parquet.days import IDS, by_time, day_files, once, read_files, write_whole

ROWS_A_FILE = {"slates": 10_000, "feedback": 1_000_000}
NUMBER = re.compile(r"-compacted(\d+)-")


@dataclass(frozen=True)
class Compacted:
    """Of a day: files before and after, and the rows that stood there twice."""

    before: int
    after: int
    repeats: int


def loose_days(folder: Path) -> list[tuple[str, str]]:
    """(table, day) of the folders with files that are worth compacting."""
    days = [(table, file.parent.name) for table in IDS for file in day_files(folder, table)]
    return sorted({day for day in days if days.count(day) > 1})


def compact_day(folder: Path, table: str, day: str) -> Compacted:
    """Compact the files of one day, such as day=2026-03-01."""
    files = sorted((folder / table / day).glob(f"{table}*.parquet"))
    whole = read_files(files, table)
    rows = once(by_time(whole), table)
    number = 1 + max((int(found[1]) for file in files if (found := NUMBER.search(file.name))), default=0)
    size = ROWS_A_FILE[table]
    for part, start in enumerate(range(0, len(rows), size)):
        name = f"{table}-compacted{number}-{part:04d}.parquet"
        write_whole(rows.slice(start, size), folder / table / day / name)
    for file in files:
        file.unlink()
    return Compacted(len(files), -(-len(rows) // size), len(whole) - len(rows))
