"""The log by its place. The systems' packages are optional and slow to import: each is when a log of it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from marketplace.log import Log
from marketplace.log_place import Place, is_address, shown_place
from marketplace.sqlite_log import SqliteLog


def _clickhouse(address: str) -> Log:
    from marketplace.clickhouse.clickhouse_log import ClickhouseLog

    return ClickhouseLog(address)


def _parquet(address: str) -> Log:
    from marketplace.parquet.parquet_log import ParquetLog

    return ParquetLog(address)


SYSTEMS: Mapping[str, Callable[[str], Log]] = {"chdb": _clickhouse, "clickhouse": _clickhouse, "parquet": _parquet}


def open_log(place: Place) -> Log:
    """The log kept there; raises ValueError for a system that is none of SYSTEMS, SchemaError and LogUnavailable."""
    if not is_address(place):
        return SqliteLog(place)
    system = urlsplit(str(place)).scheme
    if system not in SYSTEMS:
        known = ", ".join(f"{name}://" for name in SYSTEMS)
        raise ValueError(f"{shown_place(place)}: no log is kept in {system!r}. Name an SQLite file, or one of {known}")
    return SYSTEMS[system](str(place))
