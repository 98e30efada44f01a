"""Arrival: every row of a table has its number in order of arrival, given where it is inserted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from marketplace.clickhouse.connection import ClickhouseClient


def last(connection: ClickhouseClient, name: str) -> int:
    """The number of the row that arrived last; 0 = none."""
    return int(connection.rows(f"SELECT max(arrival) FROM {name}")[0][0])


def insert(connection: ClickhouseClient, name: str, rows: pa.Table) -> int:
    """Insert rows, numbered on from the last; the last number."""
    with connection.held():
        first = last(connection, name) + 1
        if len(rows):
            arrival = pa.array(np.arange(first, first + len(rows), dtype=np.uint64))
            connection.insert(name, rows.append_column("arrival", arrival))
        return first + len(rows) - 1
