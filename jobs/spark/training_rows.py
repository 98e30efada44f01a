"""Make a log's days the rows that a run's ranker learns from, on Spark: those of `jobs.prepare`, by file of slates.

First each file of slates is labelled and encoded where it lies. Then, when it is known how long events take in this
log, what is not known yet is taken out of the labels. Features are as they were served.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.encoder import Encoder
from features.served import served
from jobs.data import kept
from jobs.prepare import recorded_periods, teaches
from jobs.run_folder import RunFolder
from jobs.streamed_rows import ABOUT, ROWS, encoder_hash
from jobs.tables import print_counts
from marketplace.attribution import EVENT_OF_LABEL, Attribution, recorded_labels
from marketplace.parquet.days import day_files, write_whole
from marketplace.presentation import presentation
from marketplace.settled import EVENTS, DelayCurve, event_delays
from marketplace.slate_columns import flat, shown
from marketplace.spark.attribution import attribute_files
from marketplace.spark.days import collect_batches, events_of_days
from marketplace.spark.session import spark_session
from marketplace.splits import microseconds
from marketplace.treatment import arm_labels
from value_model.rankers.ranker import OpenLabel, RankingData
from value_model.rankers.row_files import GROUP, REQUEST, data_of, rows_table

BEGUN, DELAYS = ".begun", "delays"
NONE = pa.schema([("event", pa.string()), ("delay", pa.int64()), ("since", pa.int64())]).empty_table()
COUNTS = pa.schema([("label", pa.string()), *((name, pa.int64()) for name in ("train", "validation", "test"))])


@dataclass(frozen=True)
class EncodedRows:
    """Writes a file of slates as rows with labels as recorded, and how long the events behind them took."""

    out: Path
    encoder: str  # JSON
    labels: tuple[str, ...]
    display: tuple[str, ...]

    def __call__(self, labelled: Attribution, feedback: pa.Table, file: Path) -> int:
        slates, encoder = labelled.slates, _encoder(self.encoder)
        labels = {name: labelled.labels[name].to_numpy().astype(np.float32) for name in self.labels}
        data = RankingData(
            encoder.encode(served(slates, encoder.spec)),
            labels | arm_labels(slates),
            flat(slates, "position").to_numpy().astype(np.int32),
            shown(slates).astype(np.float32),
            presentation=presentation(slates, self.display) if self.display else None,
        )
        day = file.parent.name
        table = rows_table(data, slates.select(REQUEST))
        write_whole(table, self.out / ROWS / day / f"{ROWS}-{file.name}", group=GROUP)
        parts = [
            pa.table({"event": [event] * len(delay), "delay": delay, "since": since})
            for event, (delay, since) in event_delays(labelled, feedback).items()
        ]
        if parts:
            write_whole(pa.concat_tables(parts), self.out / DELAYS / day / f"{DELAYS}-{file.name}")
        return len(data.position)


@dataclass(frozen=True)
class Settling:
    """What is known at `last` (UTC microseconds): by event how delays are distributed; none of closed data.

    `elapsed`: labels that are not known yet say what has come so far.
    """

    last: int
    curves: Mapping[str, DelayCurve]
    newest: int  # time of the newest request
    elapsed: bool

    def settled(self, time: np.ndarray, event: str) -> np.ndarray:
        """bool [R]: whether requests of those times have settled for an event."""
        return self.last - time >= self.curves[event].wait

    def known(self, data: RankingData, time: np.ndarray) -> RankingData:
        """The rows without the labels that may still change."""
        labels, still_open, request = dict(data.labels), {}, data.inputs.request
        for name in data.labels:
            event = EVENT_OF_LABEL.get(name, "")
            if event not in self.curves:
                continue
            labels[name] = np.where(self.settled(time, event)[request], data.labels[name], np.float32(np.nan))
            if self.elapsed and not self.settled(np.array([self.newest]), event)[0]:
                come = self.curves[event](self.last - time)[request].astype(np.float32)
                still_open[name] = OpenLabel(data.labels[name], come)
        return replace(data, labels=labels, open=still_open)


def training_rows(folder: Path, days: Path, *, out: Path, master: str | None) -> None:
    """Write the rows of the log's `days` that the ranker of the run in `folder` learns from to the new folder `out`.

    training_rows.json, there when all are, says which labels teach heads and when the later periods begin.
    """
    run, begun = RunFolder.open(folder), out.resolve() / BEGUN
    if out.exists():
        raise ValueError(f"{out} is there already: name a new folder, or remove it.")
    encoder = (folder / "retrieval" / "encoder.json").read_text()
    with spark_session(master, name="training-rows") as spark:
        names = recorded_labels(pa.table({"event": pa.array(events_of_days(spark, days), pa.string())}))
        writer = EncodedRows(begun, encoder, names, run.config.ranker.presentation)
        joined = attribute_files(spark, days, writer)
        files = day_files(begun, ROWS)
        settling, cuts = _known(run, begun, files, last=joined.last)
        finish = partial(_finish, settling=settling, cuts=cuts, out=out.resolve() / ROWS)
        counts = collect_batches(spark, pa.table({"file": [str(file) for file in files]}), finish, COUNTS)
    shutil.rmtree(begun)
    about = {
        "run": str(folder.resolve()),
        "encoder": encoder_hash(folder),
        "log": str(days.resolve()),
        "slates": joined.slates,
        "rows": joined.rows,
        "counts": asdict(joined.counts),
        "labels": _taught(counts),
        "validation_from": cuts[0],
        "test_from": cuts[1],
    }
    (out / ABOUT).write_text(json.dumps(about, indent=1) + "\n")
    print_counts(joined.counts)
    print(f"wrote {out}: {joined.rows:,} rows of {joined.slates:,} slates")


def _known(run: RunFolder, begun: Path, files: Sequence[Path], *, last: int) -> tuple[Settling, tuple[int, int]]:
    """What is known at `last`, and when the validation and the test period begin (UTC microseconds)."""
    requests = pa.concat_tables([pq.read_table(file, columns=["time"], partitioning=None) for file in files])
    time, closed = microseconds(requests["time"]), kept(run.path).closed
    curves = {} if closed else _curves(begun, last)
    settling = Settling(last, curves, int(time.max()), run.config.training.open_windows == "elapsed")
    period = recorded_periods(run)
    return settling, (period.validation_from, period.test_from)


def _curves(begun: Path, last: int) -> dict[str, DelayCurve]:
    delays = pa.concat_tables([pq.read_table(file, partitioning=None) for file in day_files(begun, DELAYS)] or [NONE])
    event, delay, since = (delays[name].to_numpy() for name in NONE.column_names)
    rows = {name: np.flatnonzero(event == name) for name in EVENTS}
    return {name: DelayCurve.fit(delay[one], last - since[one]) for name, one in rows.items() if len(one)}


def _taught(counts: Iterable[Mapping[str, Any]]) -> list[str]:
    """The labels that are frequent enough in every period."""
    sums: dict[str, np.ndarray] = {}
    for row in counts:
        sums[row["label"]] = sums.get(row["label"], 0) + np.array([row[name] for name in COUNTS.names[1:]])
    return [label for label, count in sums.items() if teaches(count)]


def _finish(
    batches: Iterator[pa.RecordBatch], *, settling: Settling, cuts: tuple[int, int], out: Path
) -> Iterator[pa.RecordBatch]:
    """Write the files named with what is known: how often each label happened in each period (COUNTS)."""
    for batch in batches:
        for file in map(Path, batch.column(0).to_pylist()):
            table = pq.read_table(file, partitioning=None)
            time = microseconds(table["time"])
            data = settling.known(data_of(table), time)
            write_whole(rows_table(data, table), out / file.parent.name / file.name, group=GROUP)
            period = np.searchsorted(cuts, time, "right")[data.inputs.request]
            counts = {name: np.bincount(period[label > 0], minlength=3) for name, label in data.labels.items()}
            rows = [dict(zip(COUNTS.names, (name, *count.tolist()), strict=True)) for name, count in counts.items()]
            yield pa.RecordBatch.from_pylist(rows, COUNTS)


@lru_cache(maxsize=1)
def _encoder(text: str) -> Encoder:
    """One a process."""
    return Encoder.from_json(text)
