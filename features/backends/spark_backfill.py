"""Backfill on Spark: shoppers are shared out among tasks, and each computes the features of its shoppers' requests.

By the code and from the events of `features.backfill`, so that the numbers are the same. A task reads the whole data
set's events: what is shared out is the work, and the memory of the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.backfill import backfill
from features.served import attach, served, together
from features.spec import FeatureFrame, FeatureSpec
from marketplace.dataset import Dataset, load_dataset
from marketplace.schema import SLATE
from marketplace.spark.shards import in_shards, shard_of

REQUESTS, SPEC = "requests.parquet", "spec.json"


@dataclass(frozen=True)
class SparkBackfill:
    """A `Backfill` of the data set that `Dataset.save` wrote to `folder`, which all machines see, on a `master`."""

    folder: Path
    master: str

    def __call__(self, dataset: Dataset, slates: pa.Table, *, spec: FeatureSpec) -> FeatureFrame:
        with TemporaryDirectory(prefix=".backfill", dir=self.folder) as name:
            work = Path(name).resolve()
            pq.write_table(slates, work / REQUESTS)
            (work / SPEC).write_text(spec.to_json())
            task = partial(_backfilled, folder=self.folder.resolve(), work=work)
            shards = in_shards(self.master, task, name="backfill")
            shard = shard_of(slates["user_id"], shards)
            frames = [served(pq.read_table(work / f"{one}.parquet").cast(SLATE), spec) for one in np.unique(shard)]
        return together(frames, [np.flatnonzero(shard == one) for one in np.unique(shard)])


def _backfilled(shard: int, shards: int, *, folder: Path, work: Path) -> None:
    """Write the requests of a shard with their features."""
    slates = pq.read_table(work / REQUESTS).cast(SLATE)
    mine = slates.filter(pa.array(shard_of(slates["user_id"], shards) == shard))
    if len(mine):
        spec = FeatureSpec.from_json((work / SPEC).read_text())
        frame = backfill(_dataset(folder), mine, spec=spec)
        pq.write_table(attach(mine, frame), work / f"{shard}.parquet")


@lru_cache(maxsize=1)
def _dataset(folder: Path) -> Dataset:
    """One a process."""
    return load_dataset(folder)
