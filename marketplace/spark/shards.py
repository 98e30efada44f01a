"""Shards: work that is shared out among the cores of a Spark, by the hash of a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from zlib import crc32

import numpy as np
import pyarrow as pa

from marketplace.keys import Column, one_array
from marketplace.spark.days import collect_batches
from marketplace.spark.session import spark_session

SHARD = pa.schema([("shard", pa.int64()), ("shards", pa.int64())])


def in_shards(master: str, work: Callable[[int, int], None], *, name: str) -> int:
    """Call work(shard, shards) for every shard, a task each; how many there are: one a core."""

    def make(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for row in batch.to_pylist():
                work(row["shard"], row["shards"])
            yield batch

    with spark_session(master, name=name) as spark:
        shards = spark.sparkContext.defaultParallelism
        rows = pa.table({"shard": np.arange(shards), "shards": np.full(shards, shards)}, SHARD)
        collect_batches(spark, rows, make, SHARD)
    return shards


def shard_of(names: Column, shards: int) -> np.ndarray:
    """int64 [m]: the shard of each name; -1 for null."""
    coded = one_array(names)
    coded = coded if pa.types.is_dictionary(coded.type) else coded.dictionary_encode()
    of_name = np.array([crc32(name.encode()) % shards for name in coded.dictionary.to_pylist()] + [-1])
    return of_name[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
