"""One of several processes that fit a run's network to its streamed rows, together."""

from __future__ import annotations

import os
from pathlib import Path

from jobs.run_folder import RunFolder, RunFolderError


def network_worker(folder: Path) -> None:
    """Fit the network of the run in `folder` with the others; what came of it is in the fit's checkpoint.

    Raises RunFolderError where TF_CONFIG does not say which worker this is, or the run has no rows in files.
    """
    if "TF_CONFIG" not in os.environ:
        raise RunFolderError(
            'TF_CONFIG does not say which worker this is, e.g. {"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, '
            '"task": {"type": "worker", "index": 0}}. On one machine `value-model train-ranker --workers` sets it.'
        )
    from value_model.rankers.workers import Workers

    workers = Workers()  # before any other work of TensorFlow
    from jobs.streamed_rows import streamed_rows
    from jobs.train_ranker import fit_network, refuse_workers

    run = RunFolder.open(folder)
    streamed = refuse_workers(run, streamed_rows(run, drawn=1))
    fit_network(run, streamed.rows, run.part("ranker"), files=streamed.files, workers=workers)
