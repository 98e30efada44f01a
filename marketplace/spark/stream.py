"""A stream of topics into a log's days: exactly once, whatever is killed and whenever.

The checkpoint says which records a batch holds before it is written, and that it is done afterwards. A batch that was
cut short is made again, of the same records, and its files, which are named by these, replace themselves. A record that
a producer sent twice stands in two files, and counts once by its id, as everywhere in a log's days.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.streaming import StreamingQuery

from marketplace.kafka.client import Brokers
from marketplace.kafka.dead_letters import DeadLetters
from marketplace.kafka.gathered import gather
from marketplace.kafka.ranges import on_error
from marketplace.kafka.records import ORDER_KEY, Topic
from marketplace.parquet.days import write_days
from marketplace.parquet.loading import alone, write_catalogue
from marketplace.parquet.orders import orders_of, repeated_orders, write_events
from marketplace.spark.topics import FORMAT, RECORDS, deliveries_of, register, stream_options

ORDERS = pa.schema([("order_key", pa.string()), ("item_id", pa.string()), ("feedback_id", pa.string())])
COUNTS = pa.schema([(name, pa.int64()) for name in ("slates", "events", "set apart", "of the catalogue", "refused")])
Batches = Iterator[pa.RecordBatch]
Report = Callable[[dict[str, int]], None]


def stream_into(
    spark: SparkSession,
    folder: Path,
    brokers: Brokers,
    *,
    checkpoint: Path,
    partitions: int,
    seconds: float | None,
    report: Report,
) -> StreamingQuery:
    """Append what the topics hold to the days in `folder`, a batch every so many `seconds`, None = what is there now.

    `report` is called with the counts of each batch, once it is written.
    """
    register(spark)
    where = folder.resolve()

    def append(batch: DataFrame, number: int) -> None:
        with alone(folder, wait=True):
            report(append_batch(batch.persist(), where, brokers))
        batch.unpersist()

    records = spark.readStream.format(FORMAT).options(**stream_options(brokers, partitions=partitions)).load()
    writer = records.writeStream.foreachBatch(append).option("checkpointLocation", str(checkpoint.resolve()))
    when = writer.trigger(availableNow=True) if seconds is None else writer.trigger(processingTime=f"{seconds} seconds")
    return when.start()


def append_batch(records: DataFrame, folder: Path, brokers: Brokers) -> dict[str, int]:
    """Write RECORDS to the days: a file a range and day; what becomes of them, by the names of COUNTS."""
    ordered = records.filter((F.col("topic") == str(Topic.FEEDBACK)) & F.map_contains_key("headers", ORDER_KEY))
    orders = ordered.mapInArrow(read_orders, from_arrow_schema(ORDERS)).collect()
    repeats = repeated_orders(folder, [(row.order_key, row.item_id, row.feedback_id) for row in orders])
    write = partial(write_ranges, folder=folder, brokers=brokers, repeats=repeats)
    rows = records.mapInArrow(write, from_arrow_schema(COUNTS)).collect()
    return {name: sum(row[name] for row in rows) for name in COUNTS.names}


def read_orders(batches: Batches) -> Batches:
    """ORDERS of the events among RECORDS that can be read, in their order."""
    for batch in batches:
        some = gather(deliveries_of(batch))
        rows = orders_of(some.events, some.order_keys)
        yield pa.RecordBatch.from_pylist([dict(zip(ORDERS.names, row, strict=True)) for row in rows], ORDERS)


def write_ranges(batches: Batches, *, folder: Path, brokers: Brokers, repeats: frozenset[str]) -> Batches:
    """Write RECORDS, and make dead letters of those that cannot be used: COUNTS."""
    some_batches = list(batches)
    rows = pa.Table.from_batches(some_batches) if some_batches else RECORDS.empty_table()
    for name in pc.unique(rows["range"]).to_pylist():
        some = gather(deliveries_of(rows.filter(pc.equal(rows["range"], name))))
        write_days(some.slates, folder, "slates", part=name)
        apart = write_events(some.events, some.reasons, folder, part=name, repeats=repeats)
        write_catalogue(some.catalogue, folder, part=name)
        DeadLetters(brokers, on_error).bury(some.refused)
        counts = len(some.slates), len(some.events) - apart, apart, len(some.catalogue), len(some.refused)
        yield pa.RecordBatch.from_pylist([dict(zip(COUNTS.names, counts, strict=True))], COUNTS)


def trouble_of(query: StreamingQuery, stopped: Sized) -> str | None:
    """What ended a query; None = it had read everything, or something in `stopped` ended it."""
    try:
        while not query.awaitTermination(1):
            if stopped:
                query.stop()
                return None
    except StreamingQueryException as error:
        return str(error)
    return None
