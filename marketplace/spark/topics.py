"""Topics as a stream of Spark: a data source whose offsets lie in the query's checkpoint, each with its topic's id.

A batch is the same records whenever it is made again. A topic that was made anew is read from its beginning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.streaming.datasource import ReadAllAvailable, ReadLimit, ReadMaxRows, SupportsTriggerAvailableNow
from pyspark.sql.types import StructType

from marketplace.kafka.client import Brokers
from marketplace.kafka.ranges import OffsetRange, expired, held_ranges, read_range
from marketplace.kafka.records import Delivery, Topic

TOPICS = (Topic.SLATES, Topic.FEEDBACK, Topic.ITEMS)
FORMAT, SETTINGS = "market_topics", "secret_settings"  # Spark shows no option of such a name
MOST = 4_000  # records of a partition that a batch holds
RECORDS = pa.schema(
    [
        pa.field("range", pa.string()),  # name of the range that it was read with
        pa.field("topic", pa.string()),
        pa.field("source", pa.string()),
        pa.field("partition", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("headers", pa.map_(pa.string(), pa.string())),
    ]
)
Offsets = dict[str, dict[str, Any]]  # topic: {"id": its incarnation, partition: the offset to go on from}


def stream_options(brokers: Brokers, *, partitions: int) -> dict[str, str]:
    return {SETTINGS: json.dumps([dict(brokers.settings), brokers.prefix]), "partitions": str(partitions)}


def deliveries_of(records: pa.RecordBatch | pa.Table) -> list[Delivery]:
    """RECORDS as they came."""
    rows = records.select(RECORDS.names[1:]).to_pylist()
    return [Delivery(**row | {"topic": Topic(row["topic"]), "headers": dict(row["headers"])}) for row in rows]


class TopicsSource(DataSource):
    @classmethod
    def name(cls) -> str:
        return FORMAT

    def schema(self) -> StructType:
        return from_arrow_schema(RECORDS)

    def streamReader(self, schema: StructType) -> DataSourceStreamReader:
        settings, prefix = json.loads(self.options[SETTINGS])
        return TopicsReader(Brokers(settings, prefix), partitions=int(self.options["partitions"]))


class RangePartition(InputPartition):
    def __init__(self, some: OffsetRange) -> None:
        super().__init__(some.name)
        self.range = some


class TopicsReader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Raises OffsetExpired for records that are gone before they were read, KafkaUnavailable."""

    def __init__(self, brokers: Brokers, *, partitions: int) -> None:
        self._brokers, self._partitions = brokers, partitions
        self._target: list[OffsetRange] | None = None  # where a query ends that reads what is there now

    def initialOffset(self) -> Offsets:
        return _offsets([(one, one.start) for one in self._held()])

    def prepareForTriggerAvailableNow(self) -> None:
        self._target = self._held()

    def getDefaultReadLimit(self) -> ReadLimit:
        return ReadMaxRows(MOST)

    def latestOffset(self, start: Offsets, limit: ReadLimit) -> Offsets:
        held = self._held() if self._target is None else self._target
        ends = []
        for one in held:
            begin = _next(start, one)
            end = one.end if isinstance(limit, ReadAllAvailable) else min(one.end, begin + MOST)
            ends.append((one, max(begin, end)))
        return _offsets(ends)

    def partitions(self, start: Offsets, end: Offsets) -> Sequence[InputPartition]:
        ranges = []
        for one in self._held():
            begin, stop = _next(start, one), end.get(one.topic, {})
            if stop.get("id") != one.topic_id or begin >= stop.get(str(one.partition), 0):
                continue  # a topic that was made anew since the batch was planned: its records are sent again
            some = OffsetRange(one.topic, one.topic_id, one.partition, begin, stop[str(one.partition)])
            if begin < one.start:
                raise expired(some, f"{one.start - begin:,} records expired before they were read")
            ranges.append(RangePartition(some))
        return ranges

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        assert isinstance(partition, RangePartition)
        for deliveries in read_range(self._brokers, partition.range):
            rows = [
                vars(one) | {"range": partition.range.name, "headers": list(one.headers.items())} for one in deliveries
            ]
            yield pa.RecordBatch.from_pylist(rows, RECORDS)

    def _held(self) -> list[OffsetRange]:
        return held_ranges(self._brokers, TOPICS, partitions=self._partitions)


def register(spark: SparkSession) -> None:
    spark.dataSource.register(TopicsSource)


def _next(offsets: Offsets, held: OffsetRange) -> int:
    """Where reading goes on: in a partition or a topic that is not known, at its beginning."""
    topic = offsets.get(held.topic, {})
    return int(topic.get(str(held.partition), held.start)) if topic.get("id") == held.topic_id else held.start


def _offsets(ends: Sequence[tuple[OffsetRange, int]]) -> Offsets:
    offsets: Offsets = {}
    for one, end in ends:
        offsets.setdefault(str(one.topic), {"id": one.topic_id})[str(one.partition)] = end
    return offsets
