"""Compact a log's days on Spark: a task a day."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from marketplace.parquet.compaction import compact_day, loose_days
from marketplace.parquet.loading import alone
from marketplace.spark.days import collect_batches
from marketplace.spark.session import spark_session

ANSWER = pa.schema([("before", pa.int64()), ("after", pa.int64()), ("repeats", pa.int64())])


def compact(folder: Path, *, master: str | None) -> None:
    """Merge the files of each day in `folder`, and drop what stands there twice."""
    where = folder.resolve()

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for table, day in zip(*batch.to_pydict().values(), strict=True):
                yield pa.RecordBatch.from_pylist([vars(compact_day(where, table, day))], ANSWER)

    with alone(folder):
        days = loose_days(folder)
        rows: list[dict[str, int]] = []
        if days:
            with spark_session(master, name="compact") as spark:
                tables, names = zip(*days, strict=True)
                rows = collect_batches(spark, pa.table({"table": tables, "day": names}), work, ANSWER)
    sums = {name: sum(row[name] for row in rows) for name in ANSWER.names}
    print(
        f"{folder}: {sums['before']:,} files of {len(days):,} days are {sums['after']:,} now; "
        f"{sums['repeats']:,} rows stood there twice"
    )
