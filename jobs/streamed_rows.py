"""Streamed rows: the network learns from the files in RUN/training_rows, which `spark training-rows` wrote."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from jobs.run_folder import RunFolder, RunFolderError
from marketplace.parquet.days import day_files
from value_model.rankers.row_files import RowFiles

FOLDER, ABOUT, ROWS = "training_rows", "training_rows.json", "rows"


def streamed_rows(run: RunFolder, *, labels: Collection[str]) -> RowFiles | None:
    """The files of the training period, None where there are none; `labels`: those that the run learns.

    Raises RunFolderError for rows that were written for other features or do not hold the labels.
    """
    folder = run.path / FOLDER
    if not (folder / ABOUT).exists():
        return None
    about = json.loads((folder / ABOUT).read_text())
    again = f"Write them again: `value-model spark training-rows {run.path} DAYS`, after {folder} is removed."
    if about["encoder"] != encoder_hash(run.path):
        raise RunFolderError(f"{folder} was encoded for another training of the retrieval. {again}")
    if missing := set(labels) - set(about["labels"]):
        raise RunFolderError(f"{folder} does not teach {', '.join(sorted(missing))}, which the run learns. {again}")
    files = RowFiles.of(day_files(folder, ROWS), until=about["validation_from"], labels=labels)
    print(f"   network: streams {folder}, {len(files.groups):,} groups of requests", flush=True)
    return files


def encoder_hash(folder: Path) -> str:
    """Of the encoder of the run in `folder`."""
    return hashlib.sha256((folder / "retrieval" / "encoder.json").read_bytes()).hexdigest()
