"""Where the notebook finds its run: the one that is named, or a small demo that it makes first."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from jobs.tuning_desk.desk import Desk
from jobs.tuning_desk.material import material_of_run

VARIABLE = "VALUE_MODEL_RUN"


def open_desk(*, environment: Mapping[str, str] = os.environ, demo: Path = Path("../runs/notebook")) -> Desk:
    """The desk of the run that $VALUE_MODEL_RUN names; without it of `demo`, made when missing (about a minute)."""
    folder = Path(environment.get(VARIABLE) or demo)
    if VARIABLE not in environment and not (folder / "evaluation" / "slates.parquet").exists():
        from jobs.config import RunConfig
        from jobs.run import run_all

        run_all(RunConfig(size="small", retrieval_epochs=2, ranker_epochs=3), folder)
    return Desk(material_of_run(folder))
