"""Where the notebook finds its run: the one that is named, or a small demo that it makes first."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from desk.desk import Desk
from desk.material import Material, item_names
from jobs.run_evidence import run_evidence
from value_model.policy_checks import logged_calibration

VARIABLE = "VALUE_MODEL_RUN"
MOST_REQUESTS = 2_000  # on the desk: what can be ranked again between two movements of a slider


def open_desk(*, environment: Mapping[str, str] = os.environ, demo: Path = Path("../runs/notebook")) -> Desk:
    """The desk of the run that $VALUE_MODEL_RUN names; without it of `demo`, made when missing (about a minute)."""
    if run := environment.get(VARIABLE):
        return Desk(material_of_run(located(Path(run))))
    if not (demo / "evaluation" / "slates.parquet").exists():
        from jobs.config import RunConfig
        from jobs.run import run_all

        run_all(RunConfig(size="small", retrieval_epochs=2, ranker_epochs=3), demo)
    return Desk(material_of_run(demo))


def material_of_run(folder: Path, *, seed: int = 0, most: int = MOST_REQUESTS) -> Material:
    """The held-out requests of a run, at most `most` of them drawn at random; saved versions go to FOLDER/policies.

    Raises what `run_evidence` raises.
    """
    run = run_evidence(folder, rng=np.random.default_rng(seed), most=most)
    return Material(
        name=f"{folder.name} ({run.dataset.name})",
        policy=run.policy,
        evidence=run.evidence,
        names=item_names(run.slates, run.dataset),
        versions=folder / "policies",
        calibration=logged_calibration(run.slates, run.labels) if run.dataset.has_impressions else None,
        requests_per_day=run.requests_per_day,
        notes=run.notes,
    )


def located(folder: Path) -> Path:
    """Where a relative path leads from here or, where no run is, from the folder above: a notebook runs in its own."""
    return folder if (folder / "run.json").exists() else Path("..") / folder
