"""Budget of state: what each statistic of a worker's feature store remembers, what bounds it, and when it ends."""

from __future__ import annotations

from pathlib import Path

from features.statistics.keyed_memory import MemorySize
from features.store import MemoryStore
from jobs.tables import print_section
from marketplace.log import Log
from marketplace.log_place import Place
from marketplace.memory_log import MemoryLog
from marketplace.open_log import open_log
from serving.bundle import build_engine, load_bundle
from serving.manifest import bundle_of

HEAD = ("statistic", "memory", "by", "keys", "rows", "bytes", "bytes a key", "a key holds", "forgotten after")


def print_sizes(folder: Path, *, log: Place | None = None) -> None:
    """Of the bundle in run or service `folder`; `log` None = the one in it, or nothing where it is not there."""
    beside = folder / "log.sqlite"
    place = log or (beside if beside.exists() else None)
    opened = MemoryLog() if place is None else open_log(place)
    try:
        sizes = store_sizes(folder, opened)
    finally:
        opened.close()
    total = sum(size.bytes for size in sizes)
    caption = f"{total:,} bytes in all, as columns; those of the largest first"
    print_section(HEAD, map(_row, sorted(sizes, key=lambda size: -size.bytes)), title=str(folder), caption=caption)


def store_sizes(folder: Path, log: Log) -> list[MemorySize]:
    """What a worker's store remembers that serves the bundle in `folder` and has followed the log."""
    bundle = bundle_of(folder)
    store = build_engine(load_bundle(bundle), log=log).store
    assert isinstance(store, MemoryStore)  # what `build_engine` makes
    return store.sizes()


def _row(size: MemorySize) -> tuple[str, ...]:
    each = size.bytes / max(size.keys, 1)
    counts = (f"{size.keys:,}", f"{size.rows:,}", f"{size.bytes:,}", f"{each:,.0f}")
    return (size.statistic, size.memory, str(size.entity), *counts, size.bound, size.expiry)
