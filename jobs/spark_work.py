"""What a run has Spark do for it, where its setting `spark` names a master: the same numbers, on more cores."""

from __future__ import annotations

from features.backfill import Backfill, backfill
from jobs.run_folder import RunFolder
from retrieval.sources.covisits import PairsOf


def backfill_of(run: RunFolder) -> Backfill:
    """What computes the features of requests that were logged without them."""
    if not run.config.spark:
        return backfill
    from features.backends.spark_backfill import SparkBackfill

    return SparkBackfill(run.path / "data", run.config.spark)


def pairs_of(run: RunFolder) -> PairsOf | None:
    """What counts co-visits; None = the source itself."""
    if not run.config.spark:
        return None
    from retrieval.sources.spark_pairs import SparkPairs

    return SparkPairs(run.path / "data", run.config.spark)
