"""Where the notebook finds its run: the one that is named, or a small demo that it makes first."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np

from desk.desk import Desk
from desk.material import Material, item_names
from desk.versions import Versions
from jobs.data import FEWEST_SLATES
from jobs.run_evidence import log_evidence, run_evidence
from marketplace.sqlite_log import SqliteLog
from serving.bundle_service import POLICIES, BundleService
from value_model.formula import ValuePolicy

VARIABLE = "VALUE_MODEL_RUN"
MOST_REQUESTS = 2_000  # on the desk: what can be ranked again between two movements of a slider
MOST_READ = 5_000  # of a log's slates, the newest: what is read does not grow with the log


def open_desk(*, environment: Mapping[str, str] = os.environ, demo: Path = Path("../runs/notebook")) -> Desk:
    """The desk of the run that $VALUE_MODEL_RUN names; without it of `demo`, made when missing (about a minute)."""
    if run := environment.get(VARIABLE):
        return Desk(_material(located(Path(run))))
    if not (demo / "evaluation" / "slates.parquet").exists():
        from jobs.config import RunConfig
        from jobs.run import run_all
        from retrieval.config import RetrievalConfig
        from value_model.rankers.config import TrainingConfig

        quick = RunConfig(size="small", retrieval=RetrievalConfig(epochs=2), training=TrainingConfig(epochs=3))
        run_all(quick, demo)
    return Desk(_material(demo))


def _material(folder: Path) -> Material:
    material = material_of(folder)
    if material is None:
        raise FileNotFoundError(
            f"{folder} holds no evaluated run and no service's log to look at. Make one with "
            f"`value-model run --out {folder}`, or name another in ${VARIABLE}."
        )
    return material


def material_of(
    folder: Path,
    *,
    also: ValuePolicy | None = None,
    seed: int = 0,
    most: int = MOST_REQUESTS,
    searched: bool = True,
) -> Material | None:
    """The held-out requests of a run, else the newest of the service's log in the folder; None where it has neither.

    At most `most`, drawn at random, are looked at; all are `searched`, unless no search is asked for. The desk also
    reads what the policy `also` and the baseline read. Versions go to FOLDER/policies, and are published to
    FOLDER/bundle where that is a link. Raises what `run_evidence` raises.
    """
    rng, log, kept = np.random.default_rng(seed), folder / "log.sqlite", None if searched else most
    since, enough = _period(log)
    if (folder / "evaluation" / "slates.parquet").exists():
        run = run_evidence(folder, rng=rng, most=kept)
    elif enough:
        run = log_evidence(log, rng=rng, most=kept, since=since)
    else:
        return None
    service = BundleService.of(folder) if (folder / "bundle").is_symlink() else None
    served = None if service is None else service.served().policy
    read = (also, served, Versions(folder / POLICIES).baseline())
    whole, count = run.reading(*(policy for policy in read if policy is not None)), len(run.slates)
    rows = np.sort(np.random.default_rng(seed).choice(count, min(most, count), replace=False))
    return Material(
        name=f"{folder.name} ({run.dataset.name})",
        policy=run.policy,
        evidence=whole.take(rows),
        whole=whole,
        names=item_names(run.slates.take(rows), run.dataset),
        versions=folder / POLICIES,
        calibration=run.calibration,
        requests_per_day=run.requests_per_day,
        notes=run.notes,
        service=service,
    )


def _period(log: Path) -> tuple[datetime | None, bool]:
    """Since when the newest slates of a log are read, None = all of them, and whether there are enough to look at."""
    if not log.exists():
        return None, False
    opened = SqliteLog(log)
    since, enough = opened.time_of_newest(MOST_READ), opened.time_of_newest(FEWEST_SLATES) is not None
    opened.close()
    return since, enough


def located(folder: Path) -> Path:
    """Where a relative path leads from here or, where no run is, from the folder above: a notebook runs in its own."""
    return folder if (folder / "run.json").exists() else Path("..") / folder
