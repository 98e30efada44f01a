"""The demo's data and retrieval, for benchmarks inside a run: of the folder on their command line, or made for them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from jobs.config import RunConfig
from jobs.run import STAGES
from jobs.run_folder import RunFolder


@contextmanager
def demo_run() -> Iterator[RunFolder]:
    """A run whose stages `data` and `retrieval` are done."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder.open(Path(sys.argv[1])) if len(sys.argv) > 1 else RunFolder.create(Path(folder), RunConfig())
        for stage in ("data", "retrieval"):
            run.stage(stage, partial(STAGES[stage], run))
        yield run
