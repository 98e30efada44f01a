"""A trial from a run's held-out lists: items shown with a treatment and without, and what the heads said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.uplift.held_out import HeldOut
from evaluation.uplift.nuisances import Nuisances
from evaluation.uplift.overlap import arm_overlaps, check_overlap
from evaluation.uplift.trial import Trial
from jobs.data import kept
from jobs.run_evidence import settled_part
from jobs.run_folder import RunFolder
from marketplace.keys import rows_of
from marketplace.schema import TREATED
from marketplace.slate_columns import item_offsets, names, predictions, request_of_rows, shown, to_numpy
from marketplace.treatment import arm_labels, treated_chance

HEADS = "the heads"
EFFECT = {"order": "uplift", "order_value": "incremental_gmv"}  # what heads say a treatment adds to an outcome


def run_trial(folder: Path, outcome: str) -> tuple[Trial, HeldOut]:
    """Items shown of the held-out requests, by `outcome`: "order" or "order_value"; shoppers stand or fall together.

    Raises FileNotFoundError for a run that was not evaluated, ValueError for one whose lists say of nobody that he was
    treated, or whose heads were not learned of it.
    """
    RunFolder.open(folder)
    path = folder / "evaluation" / "slates.parquet"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: evaluate the run first (`value-model evaluate {folder}`).")
    slates, labels = settled_part(pq.read_table(path), pq.read_table(path.with_name("labels.parquet")))
    if EFFECT[outcome] not in names(slates, "predictions"):
        raise ValueError(
            f"{folder}: no head {EFFECT[outcome]!r}: its lists must say who was {TREATED} (docs/uplift.md)."
        )
    recorded = kept(folder).slates
    recorded = recorded.take(pa.array(rows_of(slates["request_id"], recorded["request_id"])))
    assert np.array_equal(item_offsets(recorded), item_offsets(slates))
    treated, chance = arm_labels(recorded)["treated"], treated_chance(recorded)
    chance = np.where(np.isnan(chance), np.nanmean(treated), chance)
    rows = shown(slates) & ~np.isnan(treated)
    amount = predictions(slates, "order_value") if outcome == "order_value" else np.ones(len(rows))
    expected = [predictions(slates, name) * amount for name in ("ctcvr_control", "ctcvr_treated")]
    shopper = np.unique(to_numpy(slates["user_id"]), return_inverse=True)[1][request_of_rows(slates)]
    trial = Trial(
        np.empty((rows.sum(), 0)),
        treated[rows].astype(np.int64),
        labels[outcome].to_numpy().astype(np.float64)[rows],
        ("control", "treated"),
        shopper[rows],
        np.column_stack([1 - chance, chance])[rows].astype(np.float64),
    )
    assert trial.propensity is not None
    effects = {HEADS: predictions(slates, EFFECT[outcome])[rows, None]}
    warnings = check_overlap(arm_overlaps(trial.arm, trial.propensity, arms=trial.arms))
    nuisances = Nuisances(np.column_stack(expected)[rows], trial.propensity)
    return trial, HeldOut(effects, nuisances, np.zeros(len(trial.arm), np.int64), tuple(warnings))
