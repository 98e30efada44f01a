"""What the held-out requests of a run tell of other weights, and whether the log behind it was randomised.

Slates and heads are those of the run's evaluation; positions, feedback, values and propensities those on record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.data import kept, logged
from jobs.defaults import policy_of
from jobs.run_folder import RunFolder
from marketplace.attribution import attribute
from marketplace.dataset import Dataset
from marketplace.keys import rows_of
from marketplace.log_place import Place, home_of, is_log
from marketplace.recorded_draws import drawn_at_random
from marketplace.settled import settled_requests, with_settled
from marketplace.slate_columns import item_offsets, request_of_rows
from marketplace.splits import DAY_US, microseconds
from retrieval.labelled_requests import segment_of_requests
from serving.bundle import POLICY_FILE, STAGED_FILE
from serving.bundle_service import published_policy
from value_model.formula import ValuePolicy, load_policy
from value_model.formula.logged_slates import logged_slates
from value_model.policy_checks import logged_calibration
from value_model.policy_checks.calibration import HeadCalibration
from value_model.tuning import Evidence
from value_model.tuning.recorded_evidence import most_explored, recorded_evidence

FLAGS = ("seen", "click", "cart", "order", "returned", "kept_order", "mature", "return_mature")


@dataclass(frozen=True)
class RunEvidence:
    """R requests as tables and as evidence under `policy`; `notes` say what the log can and cannot tell.

    `calibration`: the heads' ratios by surface over all requests of which these were drawn; None without lists.
    """

    dataset: Dataset
    policy: ValuePolicy
    slates: pa.Table
    labels: pa.Table
    evidence: Evidence
    requests_per_day: float
    notes: tuple[str, ...]
    calibration: HeadCalibration | None = None

    def reading(self, *policies: ValuePolicy) -> Evidence:
        """The evidence with all that these policies read beside its own."""
        slates = self.evidence.slates
        columns = dict(slates.columns)
        for policy in policies:
            columns = {**logged_slates(self.slates, policy).columns, **columns}
        return replace(self.evidence, slates=replace(slates, columns=columns))


def run_evidence(
    folder: Path, *, rng: np.random.Generator, most: int | None = None, policy: Path | None = None
) -> RunEvidence:
    """The held-out requests of a run, at most `most` of them drawn at random; `policy` None = the one that is served.

    Raises FileNotFoundError for a run that was not evaluated, RunFolderError for a folder that is no run, ValueError
    for a policy that reads what the slates do not hold.
    """
    run, path = RunFolder.open(folder), folder / "evaluation" / "slates.parquet"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: evaluate the run first (`value-model evaluate {folder}`).")
    dataset, slates = kept(folder), pq.read_table(path)
    slates, labels = settled_part(slates, pq.read_table(path.with_name("labels.parquet")))
    evaluated, per_day = slates, requests_per_day(slates)
    calibration = logged_calibration(slates, labels) if dataset.has_impressions else None
    made_with = policy_of(dataset, run.config, heads=run.heads)
    judged = published_policy(folder) or made_with
    if policy is not None:
        judged = policy_of(dataset, replace(run.config, policy=str(policy)))
    slates, ranked_by, left_out = of_one_policy(dataset, slates, served_policies(run), made_with)
    slates = sampled(slates, most, rng=rng)
    labels = labels.filter(pa.array(chosen_rows(slates, evaluated)))
    if not dataset.has_impressions:
        slates, labels = labelled(dataset, slates)
    evidence, note = evidence_of(dataset, slates, labels, judged, ranked_by=ranked_by, rng=rng)
    return RunEvidence(dataset, judged, slates, labels, evidence, per_day, (note, *left_out), calibration)


def log_evidence(
    log: Place, *, rng: np.random.Generator, most: int | None = None, since: datetime | None = None
) -> RunEvidence:
    """The requests of a service's log, as its models predicted them, under the policy of the bundle beside it.

    At most `most` of them, drawn at random from those since `since`; None = from all.
    """
    dataset = logged(log, since=since)
    in_force = load_policy(home_of(log) / "bundle" / "policy.toml")
    joined = attribute(dataset.slates, dataset.feedback)
    known, labels = settled_part(joined.slates, with_settled(joined, settled_requests(joined, dataset.feedback)))
    calibration = logged_calibration(known, labels)
    slates, ranked_by, left_out = of_one_policy(dataset, known, bundle_policies(home_of(log)), in_force)
    per_day, slates = requests_per_day(slates), sampled(slates, most, rng=rng)
    labels = labels.filter(pa.array(chosen_rows(slates, known)))
    evidence, note = evidence_of(dataset, slates, labels, in_force, ranked_by=ranked_by, rng=rng)
    if since is not None:
        left_out = (*left_out, f"The log was read from {since:%Y-%m-%d %H:%M} UTC on.")
    return RunEvidence(dataset, in_force, slates, labels, evidence, per_day, (note, *left_out), calibration)


def settled_part(slates: pa.Table, labels: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The requests whose items are all `mature`, with their rows of `labels`."""
    settled, mature = np.ones(len(slates), bool), labels["mature"].to_numpy()
    settled[request_of_rows(slates)[~mature]] = False
    return slates.filter(pa.array(settled)), labels.filter(pa.array(settled[request_of_rows(slates)]))


def chosen_rows(chosen: pa.Table, slates: pa.Table) -> np.ndarray:
    """bool [N]: the rows of `slates` whose requests are among the `chosen`, which are in the same order."""
    return (rows_of(slates["request_id"], chosen["request_id"]) >= 0)[request_of_rows(slates)]


def sampled(slates: pa.Table, most: int | None, *, rng: np.random.Generator) -> pa.Table:
    """At most `most` of the slates, drawn at random and in their order; None = all."""
    if most is None or len(slates) <= most:
        return slates
    return slates.take(np.sort(rng.choice(len(slates), most, replace=False)))


def requests_per_day(slates: pa.Table) -> float:
    times = microseconds(slates["time"])
    return len(slates) / max((times.max() - times.min()) / DAY_US, 1e-9)


def served_policies(run: RunFolder) -> dict[str, ValuePolicy]:
    """By version: the policies of all bundles beside a service's log; none where the run has other data."""
    return bundle_policies(home_of(run.config.data)) if is_log(run.config.data) else {}


def bundle_policies(folder: Path) -> dict[str, ValuePolicy]:
    """By version: the policies of all bundles in a folder."""
    names = (POLICY_FILE, STAGED_FILE)
    files = sorted(
        file for name in names for place in ("bundles/*", "bundle") for file in folder.glob(f"{place}/{name}")
    )
    return {policy.version: policy for policy in map(load_policy, files)}


def of_one_policy(
    dataset: Dataset, slates: pa.Table, served: dict[str, ValuePolicy], in_force: ValuePolicy
) -> tuple[pa.Table, ValuePolicy, tuple[str, ...]]:
    """(slates, the policy that ranked them, notes): of several that were served, the one that spread most requests.

    Where it is not known who ranked (`served` is empty), the run's own policy stands in: propensities tell if it did.
    Requests without propensities are then left out beside such with them.
    """
    recorded = as_recorded(dataset, slates)
    version = most_explored(recorded, served)
    if version is not None:
        whose, why = pc.equal(recorded["policy_version"].cast(pa.string()), version), "that other policies ranked"
    elif not served and dataset.has_impressions and (drawn := drawn_at_random(recorded)).any():
        whose, why = pa.array(drawn), "of which no place was drawn at random with its propensity"
    else:
        return slates, in_force, ()
    kept_slates = slates.filter(whose)
    left_out = len(slates) - len(kept_slates)
    note = (f"{left_out:,} requests {why} are left out.",) if left_out else ()
    return kept_slates, in_force if version is None else served[version], note


def labelled(dataset: Dataset, slates: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The slates with the labels of their items; without recorded lists nothing is known to have happened."""
    if dataset.has_impressions:
        attribution = attribute(slates, dataset.feedback)
        return attribution.slates, attribution.labels
    count = int(item_offsets(slates)[-1])
    flags = {name: pa.array(np.zeros(count, bool)) for name in FLAGS}
    return slates, pa.table({**flags, "order_value": pa.array(np.zeros(count))})


def as_recorded(dataset: Dataset, slates: pa.Table) -> pa.Table:
    """The same requests as they were logged; purchase-only data logged none."""
    if not dataset.has_impressions:
        return slates
    return dataset.slates.take(rows_of(slates["request_id"], dataset.slates["request_id"]))


def evidence_of(
    dataset: Dataset,
    slates: pa.Table,
    labels: pa.Table,
    policy: ValuePolicy,
    *,
    ranked_by: ValuePolicy,
    rng: np.random.Generator,
) -> tuple[Evidence, str]:
    """`recorded_evidence` of a data set's requests."""
    segment = segment_of_requests(dataset, slates, dataset.segment).astype(str)
    recorded = as_recorded(dataset, slates)
    return recorded_evidence(slates, labels, policy, recorded=recorded, ranked_by=ranked_by, segment=segment, rng=rng)
