"""Streamed rows: the rankers learn from the files in RUN/training_rows, which `spark training-rows` wrote.

The network reads the training period group by group, however much of it there is. What needs its rows in memory, trees
and a stack, learns from groups of it drawn at random (`trees.streamed_rows`). The later periods are the run's own
requests, in its order.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.encoder import Encoder
from jobs.prepare import TrainingRows
from jobs.run_folder import RunFolder, RunFolderError
from marketplace.heads import learned_heads
from marketplace.keys import rows_of
from marketplace.parquet.days import day_files
from marketplace.splits import Periods, microseconds
from value_model.rankers.row_files import REQUEST, RowFiles, data_of

FOLDER, ABOUT, ROWS = "training_rows", "training_rows.json", "rows"


@dataclass(frozen=True)
class StreamedRows:
    """`files` of the whole training period; `rows`: those of it that were drawn, and the later periods."""

    files: RowFiles
    rows: TrainingRows


def streamed_rows(run: RunFolder, *, drawn: int) -> StreamedRows | None:
    """What the run's rankers learn from, None where there are no files; about `drawn` rows of the training period.

    Raises RunFolderError for rows that were written for other features, teach nothing or lack requests of the run.
    """
    folder = run.path / FOLDER
    if not (folder / ABOUT).exists():
        return None
    about = json.loads((folder / ABOUT).read_text())
    again = f"Write them again: `value-model spark training-rows {run.path} DAYS`, after {folder} is removed."
    if about["encoder"] != encoder_hash(run.path):
        raise RunFolderError(f"{folder} was encoded for another training of the retrieval. {again}")
    if not learned_heads(about["labels"]):
        raise RunFolderError(f"{folder} teaches no head: it is made of a log without enough clicks and orders. {again}")
    if run.config.ranker.examination == "ipw":
        raise RunFolderError(
            f"ranker.examination = 'ipw' needs all rows in memory: choose another, or remove {folder}."
        )
    cuts, labels = (about["validation_from"], about["test_from"]), about["labels"]
    early, late = (
        RowFiles.of(day_files(folder, ROWS), labels=labels, **times)
        for times in ({"until": cuts[0]}, {"since": cuts[0]})
    )
    few = early.sample(drawn, rng=np.random.default_rng(run.config.seed))
    print(f"   network: streams {early.rows:,} rows of {folder}; trees learn from {few.rows:,} of them", flush=True)
    later = _of_run(run, late.table(), since=cuts[0])
    if later is None:
        raise RunFolderError(f"{folder} lacks requests of the run's own later periods. {again}")
    table = pa.concat_tables([few.table(), later])
    return StreamedRows(early, _rows_of(run, table, cuts=cuts))


def encoder_hash(folder: Path) -> str:
    """Of the encoder of the run in `folder`."""
    return hashlib.sha256((folder / "retrieval" / "encoder.json").read_bytes()).hexdigest()


def _of_run(run: RunFolder, later: pa.Table, *, since: int) -> pa.Table | None:
    """Those rows that the run's data hold too, in its order; None where some of these are missing."""
    requests = pq.read_table(run.path / "data" / "slates.parquet", columns=["request_id", "time"])
    names = requests["request_id"].filter(pa.array(microseconds(requests["time"]) >= since))
    rows = rows_of(names, later["request_id"])
    if (rows < 0).any():
        return None
    return later if np.array_equal(rows, np.arange(len(later))) else later.take(pa.array(rows))


def _rows_of(run: RunFolder, table: pa.Table, *, cuts: tuple[int, int]) -> TrainingRows:
    about = json.loads((run.path / "data" / "dataset.json").read_text())
    part = np.searchsorted(cuts, microseconds(table["time"]), "right")
    return TrainingRows(
        table.select(REQUEST),
        Encoder.from_json((run.path / "retrieval" / "encoder.json").read_text()),
        data_of(table),
        Periods(part == 0, part == 1, part == 2, *cuts),
        about["segment"],
    )
