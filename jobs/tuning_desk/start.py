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
    if named := environment.get(VARIABLE):
        return Desk(material_of_run(found(Path(named))))
    if not (demo / "evaluation" / "slates.parquet").exists():
        from jobs.config import RunConfig
        from jobs.run import run_all

        run_all(RunConfig(size="small", retrieval_epochs=2, ranker_epochs=3), demo)
    return Desk(material_of_run(demo))


def found(folder: Path) -> Path:
    """Where a relative path leads from here or, where no run is, from the folder above: a notebook runs in its own."""
    return folder if (folder / "run.json").exists() else Path("..") / folder
