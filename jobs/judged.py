"""What a run was judged on, request by request and row by row: two runs are compared on the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HITS = "hits.parquet"  # in retrieval/: recall of each test request
JUDGED = "judged.parquet"  # in evaluation/: labels of each row of slates.parquet, and which rows count
COUNTED = "counted"
COHORT = "cohort "  # before a cohort's name
REQUEST = ("request_id", "time", "surface", "user_id")


def keep_hits(path: Path, hits: Mapping[str, np.ndarray], slates: pa.Table) -> None:
    """Write recall by name, [q] each, of the requests in `slates` [q]."""
    pq.write_table(pa.table({**{name: slates[name] for name in REQUEST}, **hits}), path)


def keep_judged(
    path: Path, labels: Mapping[str, np.ndarray], *, counted: np.ndarray, cohorts: Mapping[str, np.ndarray]
) -> None:
    """Write labels by name, [N] each, NaN where one is not known, which rows count and which are of cohorts."""
    of_cohorts = {COHORT + name: rows for name, rows in cohorts.items()}
    pq.write_table(pa.table({COUNTED: counted, **labels, **of_cohorts}), path)


def kept_judged(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray]]:
    """What `keep_judged` wrote: labels, the rows that count, and cohorts."""
    table = pq.read_table(path)
    columns = {name: table[name].to_numpy() for name in table.column_names}
    counted = columns.pop(COUNTED)
    cohorts = {name.removeprefix(COHORT): columns.pop(name) for name in list(columns) if name.startswith(COHORT)}
    return columns, counted, cohorts
