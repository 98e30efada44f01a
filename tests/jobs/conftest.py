"""One small run of the whole loop, made once for every test here."""

from pathlib import Path

import pytest

from jobs.config import RunConfig
from jobs.run import run_all


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    run_all(RunConfig(size="small", retrieval_epochs=2, ranker_epochs=2), folder)
    return folder
