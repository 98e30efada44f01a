"""Load a log into ClickHouse, or into Parquet files by day; begun again, it goes on where it was ended."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic

from marketplace.clickhouse.clickhouse_log import ClickhouseLog
from marketplace.clickhouse.loading import load_files, load_log
from marketplace.loaded import Loaded
from marketplace.log import Log
from marketplace.log_place import Place, is_address, shown_place
from marketplace.open_log import open_log
from marketplace.parquet import loading as days
from marketplace.parquet.parquet_log import ParquetLog
from marketplace.sqlite_log import SqliteLog

PAUSE = 2.0  # seconds between two lines of progress
Progress = Callable[[Loaded], None]


def load(source: Place, target: str, *, keep: int | None = None) -> None:
    """Load a log, or a folder of Parquet files into ClickHouse; `keep`: days that it keeps, None = as it was."""
    begun = monotonic()
    with closing(open_log(target)) as log:
        loaded = _loaded(source, log, shown_place(target), keep=keep, progress=_progress(begun))
    print(f"{shown_place(target)}: {_words(loaded, monotonic() - begun)}; {loaded.known:,} were there")


def _loaded(source: Place, target: Log, place: str, *, keep: int | None, progress: Progress) -> Loaded:
    if isinstance(target, ParquetLog):
        if keep is not None:
            raise ValueError(f"{place} keeps a day until its folder (day=...) is deleted; --keep is for ClickHouse.")
        if not is_address(source) and Path(source).is_dir():
            raise ValueError(f"{source} is a folder of files already: load the logs that they came from.")
        with closing(open_log(source)) as log:
            return days.load_log(log, target.folder, name=_name(source), progress=progress)
    if not isinstance(target, ClickhouseLog):
        raise ValueError(f"{place} takes no logs: name chdb:///FOLDER, clickhouse://... or parquet:///FOLDER.")
    if is_address(source):
        raise ValueError(f"{shown_place(source)}: ClickHouse is loaded from SQLite files and folders of Parquet files.")
    if keep is not None:
        target.keep(keep)
    if Path(source).is_dir():
        return load_files(Path(source), target, progress=progress)
    with closing(SqliteLog(source)) as service:
        return load_log(service, target, name=_name(source), progress=progress)


def _name(source: Place) -> str:
    return shown_place(source) if is_address(source) else str(Path(source).resolve())


def _progress(begun: float) -> Progress:
    last = begun

    def show(loaded: Loaded) -> None:
        nonlocal last
        if (now := monotonic()) > last + PAUSE:
            last = now
            print(f"   {_words(loaded, now - begun)}", file=sys.stderr, flush=True)

    return show


def _words(loaded: Loaded, seconds: float) -> str:
    rate = loaded.items / max(seconds, 1e-9)
    return f"{loaded.slates:,} slates and {loaded.events:,} events; {loaded.items:,} items read, {rate:,.0f} a second"
