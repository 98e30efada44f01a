"""Attribution on Spark: a task reads a file of slates, beside the events that answer them, and labels it.

The rules are those of `marketplace.attribution`, by its own code. Of the slates only ids, times and places pass through
the shuffle; each file is read where it lies, once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F

from marketplace.attribution import Attribution, AttributionCounts, WholeLog, attribute
from marketplace.parquet.days import by_time, read_files
from marketplace.schema import FEEDBACK, SLATE, conform, moment_of
from marketplace.slate_columns import to_numpy
from marketplace.spark.days import PLACE, path_of, rows_of_days
from marketplace.splits import microseconds

NO_SLATES = 64  # groups of the events that answer no slate
COUNTS = tuple(f.name for f in fields(AttributionCounts))
ANSWER = "file string, " + ", ".join(f"{name} bigint" for name in ("slates", "rows", "last", *COUNTS))
Use = Callable[[Attribution, pa.Table, Path], int]  # of a labelled file and its feedback: the number of its rows


@dataclass(frozen=True)
class AttributedFiles:
    files: tuple[Path, ...]  # those with a slate that counts
    slates: int
    rows: int
    counts: AttributionCounts
    last: int  # time of the last slate or event, repeats apart, UTC microseconds


def attribute_files(spark: SparkSession, folder: Path, use: Use) -> AttributedFiles:
    """Label the slates of each file, and `use` them there, on whichever machine."""
    index = rows_of_days(spark, folder, "slates", ["request_id", "time"])
    first = F.min(F.struct("time", *PLACE)).alias("first")
    kept = index.groupBy("request_id").agg(first).select("request_id", *(f"first.{name}" for name in PLACE)).persist()
    events = rows_of_days(spark, folder, "feedback", FEEDBACK.names)
    figures_of_events = F.max(F.unix_micros("time")), F.max(F.col("event") == "impression")
    last_event, impressions = events.agg(*figures_of_events).collect()[0]
    last_slate = index.agg(F.max(F.unix_micros("time"))).collect()[0][0]
    now = max(last_event or -1, last_slate or -1) + 1
    as_of, any_impressions = moment_of(now), bool(impressions)

    def label(key: tuple[pa.Scalar, ...], places: pa.Table, answers: pa.Table) -> pa.Table:
        slates = _slates(path_of(key[0].as_py()), places) if len(places) else SLATE.empty_table()
        feedback = conform(answers.select(FEEDBACK.names), FEEDBACK, where="feedback")
        repeats = to_numpy(answers["is_repeat"]).astype(bool)
        labelled = attribute(slates, feedback, as_of=as_of, whole=WholeLog(any_impressions, repeats))
        rows = use(labelled, feedback, path_of(key[0].as_py())) if len(places) else 0
        once = feedback.filter(pa.array(~repeats))
        last = max(int(microseconds(table["time"]).max(initial=-1)) for table in (slates, once))
        figures = {"slates": len(slates), "rows": rows, "last": last, **vars(labelled.counts)}
        return pa.table({"file": key} | {name: pa.array([figure], pa.int64()) for name, figure in figures.items()})

    earlier = Window.partitionBy("feedback_id").orderBy("time", *PLACE)
    marked = events.select(*FEEDBACK.names, (F.row_number().over(earlier) > 1).alias("is_repeat"))
    placed = marked.join(kept.select("request_id", F.col("file").alias("slates_file")), "request_id", "left")
    nowhere = F.concat(F.lit("none "), F.pmod(F.xxhash64("feedback_id"), F.lit(NO_SLATES)).cast("string"))
    by_file = placed.withColumn("slates_file", F.coalesce("slates_file", nowhere)).groupBy("slates_file")
    groups = kept.groupBy("file").cogroup(by_file).applyInArrow(label, ANSWER).collect()
    files = tuple(path_of(group.file) for group in groups if group.slates)
    counts = sum((AttributionCounts(*group[4:]) for group in groups), AttributionCounts())
    slates, rows = (sum(group[name] for group in groups) for name in ("slates", "rows"))
    return AttributedFiles(files, slates, rows, counts, max((group.last for group in groups), default=-1))


def _slates(file: Path, places: pa.Table) -> pa.Table:
    """The slates of a file that count, by time."""
    return by_time(read_files([file], "slates").take(np.sort(to_numpy(places["row"]))))
