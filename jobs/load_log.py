"""Load a service's log, or Parquet files, into ClickHouse; begun again, it goes on where it was ended."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from marketplace.clickhouse.clickhouse_log import ClickhouseLog
from marketplace.clickhouse.loading import Loaded, load_files, load_log
from marketplace.log_place import shown_place
from marketplace.open_log import open_log
from marketplace.sqlite_log import SqliteLog

PAUSE = 2.0  # seconds between two lines of progress


def load(source: Path, target: str, *, keep: int | None = None) -> None:
    """Load a service's log, or a folder of Parquet files, into the log at `target`; `keep`: days, None = as it was."""
    begun, log = monotonic(), open_log(target)
    if not isinstance(log, ClickhouseLog):
        log.close()
        raise ValueError(f"{shown_place(target)} is not kept in ClickHouse: name chdb:///FOLDER, or clickhouse://...")
    try:
        if keep is not None:
            log.keep(keep)
        progress = _progress(begun)
        if source.is_dir():
            loaded = load_files(source, log, progress=progress)
        else:
            service = SqliteLog(source)
            try:
                loaded = load_log(service, log, name=str(source.resolve()), progress=progress)
            finally:
                service.close()
    finally:
        log.close()
    print(f"{shown_place(target)}: {_words(loaded, monotonic() - begun)}; {loaded.known:,} were there")


def _progress(begun: float) -> Callable[[Loaded], None]:
    told = begun

    def tell(loaded: Loaded) -> None:
        nonlocal told
        if (now := monotonic()) > told + PAUSE:
            told = now
            print(f"   {_words(loaded, now - begun)}", file=sys.stderr, flush=True)

    return tell


def _words(loaded: Loaded, seconds: float) -> str:
    rate = loaded.items / max(seconds, 1e-9)
    return (
        f"{loaded.slates:,} slates of {loaded.items:,} items and {loaded.events:,} events, {rate:,.0f} items a second"
    )
