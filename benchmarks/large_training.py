"""Rankers that learn from more rows than should stand in memory: `value-model train-ranker` on rows in Parquet files.

A run of the simulated demo market, before which lies a long history: days of 100,000 impressions, whose requests are
drawn from those of the run's training period, numbers blurred by a hundredth. `train-ranker` runs in a process of its
own on whole days of at least a tenth, three tenths and all of $LARGE_ROWS impressions (10,000,000 where it is not set),
one pass each; CPU time and peak memory are of that process, from its start to its end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from benchmarks.record import Measure, record
from jobs.config import RunConfig
from jobs.prepare import TrainingRows, prepare
from jobs.run import again
from jobs.run_folder import RunFolder
from jobs.streamed_rows import ABOUT, FOLDER, ROWS, encoder_hash
from marketplace.parquet.days import write_whole
from marketplace.schema import TIME
from marketplace.splits import DAY_US, SECOND, microseconds
from retrieval.config import RetrievalConfig
from value_model.rankers.batches import take
from value_model.rankers.config import TrainingConfig, TreesConfig
from value_model.rankers.ranker import RankingData
from value_model.rankers.row_files import GROUP, REQUEST, rows_table

NAME, SEED = "large_training", 7
MOST = int(os.environ.get("LARGE_ROWS", "10_000_000"))
SIZES = MOST // 10, 3 * MOST // 10, MOST
OF_DAY = 100_000  # impressions
TREES = TreesConfig(trees=50, streamed_rows=200_000)
CONFIG = RunConfig(seed=SEED, training=TrainingConfig(epochs=1), trees=TREES, retrieval=RetrievalConfig(epochs=1))
MORE_TREES = replace(CONFIG, trees=TreesConfig(trees=TREES.trees))
COMMAND = (sys.executable, "-c", "from jobs.cli import main; main()", "train-ranker")
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
# A process between, since a child's peak counts what its parent held when it began.
USED = """
import resource, subprocess, sys
subprocess.check_call(sys.argv[1:], stdout=sys.stderr)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20)
"""


class LongHistory:
    """Days before a run's first request, which are written when they are needed."""

    def __init__(self, run: RunFolder, prepared: TrainingRows) -> None:
        self.folder, self.impressions, self._day = run.path / FOLDER, 0, 0
        self._rows, self._offsets, self._rng = prepared.data, prepared.offsets, np.random.default_rng(SEED)
        self._requests = np.flatnonzero(prepared.period.train)
        self._first = int(microseconds(prepared.slates["time"]).min())
        table = rows_table(prepared.data, prepared.slates.select(REQUEST))
        write_whole(table, self.folder / ROWS / _day_of(self._first) / f"{ROWS}-run.parquet", group=GROUP)
        about = {"encoder": encoder_hash(run.path), "labels": list(prepared.data.labels)}
        about |= {"validation_from": prepared.period.validation_from, "test_from": prepared.period.test_from}
        (self.folder / ABOUT).write_text(json.dumps(about))

    def reach(self, impressions: int) -> None:
        """Write days until there are so many impressions."""
        while self.impressions < impressions:
            self._day += 1
            data = self._drawn()
            requests = len(data.inputs.user_codes)
            start = self._first - self._day * DAY_US
            times = start + np.sort(self._rng.integers(DAY_US, size=requests))
            about = {"request_id": pa.array([f"{self._day}-{number}" for number in range(requests)])}
            about |= {"time": pa.array(times, TIME)} | {name: pa.nulls(requests, pa.string()) for name in REQUEST[2:]}
            target = self.folder / ROWS / _day_of(start) / f"{ROWS}-{self._day}.parquet"
            write_whole(rows_table(data, pa.table(about)), target, group=GROUP)
            self.impressions += len(data.position)

    def _drawn(self) -> RankingData:
        of_request = self._offsets[-1] / (len(self._offsets) - 1)
        requests = self._rng.choice(self._requests, round(OF_DAY / of_request))
        data = take(self._rows, requests, offsets=self._offsets)
        numbers = {name: getattr(data.inputs, name) for name in ("user_numbers", "item_numbers", "cross_numbers")}
        blurred = {
            name: cells * (1 + 0.01 * self._rng.standard_normal(cells.shape, np.float32))
            for name, cells in numbers.items()
        }
        return replace(data, inputs=replace(data.inputs, **blurred))


def _day_of(time: int) -> str:
    return f"day={datetime.fromtimestamp(time / SECOND, UTC):%Y-%m-%d}"


def trained(run: RunFolder, config: RunConfig = CONFIG) -> tuple[float, float]:
    """CPU seconds and peak memory (GiB) of a `train-ranker` of the run."""
    (run.path / "run.json").unlink()
    RunFolder.create(run.path, config)
    command = [sys.executable, "-c", USED, *COMMAND, str(run.path)]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD)
    seconds, peak = ended.stdout.split()
    print(f"{seconds} s, {peak} GiB", flush=True)
    return float(seconds), float(peak)


def main() -> None:
    measures, seconds, reached = [], [], []
    with TemporaryDirectory() as place:
        run = RunFolder.create(Path(place) / "run", CONFIG)
        again(run.path, "retrieval")
        prepared = prepare(run)
        assert prepared is not None
        history = LongHistory(run, prepared)
        for size in SIZES:
            history.reach(size)
            taken, peak = trained(run)
            seconds.append(taken)
            reached.append(history.impressions)
            measures += [
                Measure(f"{size:,} impressions: train-ranker", taken, "CPU s"),
                Measure(f"{size:,} impressions: peak memory", peak, "GiB", "<= 6"),
            ]
            if size == SIZES[1]:
                _, peak = trained(run, MORE_TREES)
                rows = f"trees of {MORE_TREES.trees.streamed_rows:,} rows, the default"
                measures.append(Measure(f"{size:,} impressions, {rows}: peak memory", peak, "GiB", "<= 6"))
        files = sum(file.stat().st_size for file in history.folder.rglob("*.parquet")) / 2**20
    slopes = np.diff(seconds) / np.diff(reached)
    measures += [
        Measure("files of the last", files, "MiB"),
        Measure("further impressions a second", float(1 / slopes[1]), "1 / CPU s"),
        Measure("time of a further one, second step / first", float(slopes[1] / slopes[0]), "x", "<= 1.1"),
    ]
    data = "demo market behind a drawn history; one pass, 50 trees of 200,000 rows, one thread"
    record(NAME, measures, data=data, seed=SEED)


if __name__ == "__main__":
    main()
