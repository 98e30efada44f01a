"""What the held-out requests of a run tell of other weights, and whether the log behind it was randomised.

Slates and heads are those of the run's evaluation; positions, feedback, values and propensities those on record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.data import kept
from jobs.defaults import policy_of, segment_of
from jobs.recorded import assumed_curves, examination_curves, recorded_exposure
from jobs.run_folder import RunFolder
from marketplace.attribution import attribute
from marketplace.dataset import Dataset
from marketplace.slate_columns import flat, item_offsets, predictions, to_numpy
from marketplace.splits import DAY_US, microseconds
from retrieval.labelled_requests import segment_of_requests
from value_model.formula import ValuePolicy, load_policy
from value_model.formula.evaluate import pad, slate_mask
from value_model.formula.logged_slates import logged_slates
from value_model.formula.slate_section import ExplorationKind, SlateSection
from value_model.tuning import Evidence, evidence_from_log
from value_model.tuning.from_log import logged_exposure

RANDOMISED = "The log was randomised: what happened to items in other places corrects what the heads expect."
NOT_RANDOMISED = "The log was not randomised: predictions are the heads' own opinion, and nothing is promised."
ASSUMED = "No lists were recorded: a place is taken to be looked at as DCG discounts it."
SPREADING = (ExplorationKind.PLACKETT_LUCE, ExplorationKind.PERTURBED_WEIGHTS)  # what gives every item exposure
FLAGS = ("seen", "click", "cart", "order", "returned", "mature")


@dataclass(frozen=True)
class RunEvidence:
    """R requests as tables and as evidence under `policy`; `notes` say what the log can and cannot tell."""

    dataset: Dataset
    policy: ValuePolicy
    slates: pa.Table
    labels: pa.Table
    evidence: Evidence
    requests_per_day: float
    notes: tuple[str, ...]


def run_evidence(
    folder: Path, *, rng: np.random.Generator, most: int | None = None, policy: Path | None = None
) -> RunEvidence:
    """The held-out requests of a run, at most `most` of them drawn at random; `policy` None = the run's own.

    Raises FileNotFoundError for a run that was not evaluated, RunFolderError for a folder that is no run, ValueError
    for a policy that reads what the slates do not hold.
    """
    run, path = RunFolder.open(folder), folder / "evaluation" / "slates.parquet"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: evaluate the run first (`value-model evaluate {folder}`).")
    dataset, slates = kept(folder), pq.read_table(path)
    times = microseconds(slates["time"])
    per_day = len(slates) / max((times.max() - times.min()) / DAY_US, 1e-9)
    asked = policy_of(dataset, run.config if policy is None else replace(run.config, policy=str(policy)))
    slates, ranked_by, left_out = of_one_policy(dataset, slates, served_policies(run), policy_of(dataset, run.config))
    if most is not None and len(slates) > most:
        slates = slates.take(np.sort(rng.choice(len(slates), most, replace=False)))
    slates, labels = labelled(dataset, slates)
    evidence, note = evidence_of(dataset, slates, labels, asked, ranked_by=ranked_by, rng=rng)
    return RunEvidence(dataset, asked, slates, labels, evidence, per_day, (note, *left_out))


def served_policies(run: RunFolder) -> dict[str, ValuePolicy]:
    """By version: the policies of all bundles beside a service's log; none where the run has other data."""
    if not run.config.data.endswith(".sqlite"):
        return {}
    beside = Path(run.config.data).parent
    found = map(load_policy, sorted({*beside.glob("bundles/*/policy.toml"), *beside.glob("bundle/policy.toml")}))
    return {policy.version: policy for policy in found}


def of_one_policy(
    dataset: Dataset, slates: pa.Table, served: dict[str, ValuePolicy], own: ValuePolicy
) -> tuple[pa.Table, ValuePolicy, tuple[str, ...]]:
    """(slates, the policy that ranked them, notes): of several that were served, the one that spread most requests.

    Where it is not known who ranked (`served` is empty), the run's own policy stands in: propensities tell if it did.
    """
    version = _as_recorded(dataset, slates)["policy_version"].cast(pa.string())
    rows = {v: pc.equal(version, v) for v, policy in served.items() if _kind(policy) in SPREADING}
    most = max(rows, key=lambda v: pc.sum(rows[v]).as_py() or 0, default=None)
    if most is None or not pc.any(rows[most]).as_py():
        return slates, own, ()
    found = slates.filter(rows[most])
    left_out = len(slates) - len(found)
    note = (f"{left_out:,} requests that other policies ranked are left out.",) if left_out else ()
    return found, served[most], note


def labelled(dataset: Dataset, slates: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The slates with the labels of their items; without recorded lists nothing is known to have happened."""
    if dataset.has_impressions:
        found = attribute(slates, dataset.feedback)
        return found.slates, found.labels
    count = int(item_offsets(slates)[-1])
    flags = {name: pa.array(np.zeros(count, bool)) for name in FLAGS}
    return slates, pa.table({**flags, "order_value": pa.array(np.zeros(count))})


def evidence_of(
    dataset: Dataset,
    slates: pa.Table,
    labels: pa.Table,
    policy: ValuePolicy,
    *,
    ranked_by: ValuePolicy,
    rng: np.random.Generator,
) -> tuple[Evidence, str]:
    """Evidence under `policy`, of slates that `ranked_by` may have ranked, and a note on what it rests on."""
    mask = slate_mask(item_offsets(slates))
    surface = to_numpy(slates["surface"].combine_chunks()).astype(str)
    segment = segment_of_requests(dataset, slates, segment_of(dataset)).astype(str)
    position = pad(to_numpy(flat(slates, "position")).astype(np.int64), mask)
    plain = replace(policy, slate=None)  # who ranked the log is told from what is on record, not from `policy`
    if not position.any():
        curves = assumed_curves(surface)
        found = evidence_from_log(slates, labels, plain, examination=curves, rng=rng, segment=segment)
        return replace(found, examination=np.array([curves[name] for name in surface.tolist()])), ASSUMED
    click = to_numpy(labels["click"].combine_chunks()).astype(np.float64)
    curves = examination_curves(
        position, pad(click, mask), pad(np.nan_to_num(predictions(slates, "ctr")), mask), surface
    )
    found = evidence_from_log(slates, labels, plain, examination=curves, rng=rng, segment=segment)
    exposure = _exposure(_as_recorded(dataset, slates), found, ranked_by, rng=rng)
    return replace(found, exposure=exposure), NOT_RANDOMISED if exposure is None else RANDOMISED


def _exposure(
    recorded: pa.Table, evidence: Evidence, ranked_by: ValuePolicy, *, rng: np.random.Generator
) -> np.ndarray | None:
    """float64 [R, n]: of the policy that ranked what is on record; None where its design is not known."""
    section, looks = ranked_by.slate or SlateSection(), evidence.examination
    if _kind(ranked_by) is ExplorationKind.PERTURBED_WEIGHTS:
        ruled = replace(section, exploration=None) != SlateSection()  # then places follow from more than the weights
        if not ruled and pc.all(pc.equal(recorded["policy_version"].cast(pa.string()), ranked_by.version)).as_py():
            inputs = logged_slates(recorded, ranked_by)
            return logged_exposure(recorded, ranked_by, inputs, looks, evidence.segment, rng=rng)
    temperature = 1.0  # recorded logs of other engines hold log-odds
    if section.exploration is not None and _kind(ranked_by) is ExplorationKind.PLACKETT_LUCE:
        temperature = section.exploration.amount
    return recorded_exposure(recorded, evidence.slates.mask, looks, rng=rng, temperature=temperature)


def _kind(policy: ValuePolicy) -> ExplorationKind | None:
    return None if policy.slate is None or policy.slate.exploration is None else policy.slate.exploration.kind


def _as_recorded(dataset: Dataset, slates: pa.Table) -> pa.Table:
    """The same requests as they were logged; purchase-only data logged none."""
    if not dataset.has_impressions:
        return slates
    row = pc.index_in(slates["request_id"].combine_chunks(), dataset.slates["request_id"].combine_chunks())
    return dataset.slates.take(row)
