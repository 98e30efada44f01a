"""What lies on the desk: logged requests with all that judging other weights needs, and names that people know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.data import kept
from jobs.defaults import policy_of, segment_of
from jobs.run_folder import RunFolder
from jobs.tuning_desk.recorded import assumed_curves, examination_curves, recorded_exposure
from jobs.wishes import segment_of_requests
from marketplace.attribution import attribute
from marketplace.dataset import Dataset
from marketplace.slates import flat, item_offsets, predictions, to_numpy
from marketplace.splits import microseconds
from value_model.formula import ValuePolicy
from value_model.formula.evaluate import pad, slate_mask
from value_model.formula.slate_section import ExplorationKind
from value_model.policy_checks import Calibration, logged_calibration
from value_model.tuning import Evidence, evidence_from_log

MOST_REQUESTS = 2_000  # on the desk: what can be ranked again between two movements of a slider
DAY = 86_400e6  # microseconds
RANDOMISED = "The log was randomised: what happened to items in other places corrects what the heads expect."
NOT_RANDOMISED = "The log was not randomised: predictions are the heads' own opinion, and nothing is promised."


@dataclass(frozen=True)
class Named:
    """Codes int [R, n] into names: what the items and merchants of the slates are called."""

    item: np.ndarray
    merchant: np.ndarray
    items: np.ndarray
    merchants: np.ndarray
    titles: np.ndarray  # text [R]: each request in a few words


@dataclass(frozen=True)
class Material:
    """R requests; `policy` is the run's own. `notes` say what the log can and cannot tell."""

    name: str
    policy: ValuePolicy
    evidence: Evidence
    named: Named
    versions: Path
    calibration: Calibration | None = None
    requests_per_day: float | None = None
    notes: tuple[str, ...] = ()


def material_of_run(folder: Path, *, seed: int = 0, most: int = MOST_REQUESTS) -> Material:
    """The held-out requests of a run, at most `most` of them drawn at random; saved versions go to FOLDER/policies.

    Raises FileNotFoundError for a run that was not evaluated, RunFolderError for a folder that is no run.
    """
    run, rng = RunFolder.open(folder), np.random.default_rng(seed)
    path = folder / "evaluation" / "slates.parquet"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: evaluate the run first (`value-model evaluate {folder}`).")
    dataset, slates = kept(folder), pq.read_table(path)
    policy = policy_of(dataset, run.config)
    times = microseconds(slates["time"])
    per_day = len(slates) / max((times.max() - times.min()) / DAY, 1e-9)
    if len(slates) > most:
        slates = slates.take(np.sort(rng.choice(len(slates), most, replace=False)))
    slates, labels = _labelled(dataset, slates)
    evidence, notes = _evidence(dataset, slates, labels, policy, rng)
    return Material(
        name=f"{folder.name} ({dataset.name})",
        policy=policy,
        evidence=evidence,
        named=named(slates, dataset),
        versions=folder / "policies",
        calibration=logged_calibration(slates, labels) if dataset.has_impressions else None,
        requests_per_day=per_day,
        notes=notes,
    )


def _labelled(dataset: Dataset, slates: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The slates with the labels of their items; without recorded lists nothing is known to have happened."""
    if dataset.has_impressions:
        found = attribute(slates, dataset.feedback)
        return found.slates, found.labels
    count = int(item_offsets(slates)[-1])
    flags = {name: pa.array(np.zeros(count, bool)) for name in ("seen", "click", "cart", "order", "returned", "mature")}
    return slates, pa.table({**flags, "order_value": pa.array(np.zeros(count))})


def _evidence(
    dataset: Dataset, slates: pa.Table, labels: pa.Table, policy: ValuePolicy, rng: np.random.Generator
) -> tuple[Evidence, tuple[str, ...]]:
    mask = slate_mask(item_offsets(slates))
    surface = to_numpy(slates["surface"].combine_chunks()).astype(str)
    segment = segment_of_requests(dataset, slates, segment_of(dataset)).astype(str)
    position = pad(to_numpy(flat(slates, "position")).astype(np.int64), mask)
    plain = replace(policy, slate=None)  # who ranked the log is told from its propensities, not from today's policy
    if not position.any():
        curves = assumed_curves(surface)
        found = evidence_from_log(slates, labels, plain, examination=curves, rng=rng, segment=segment)
        note = "No lists were recorded: a place is taken to be looked at as DCG discounts it."
        return replace(found, examination=np.array([curves[name] for name in surface.tolist()])), (note,)
    click, ctr = (pad(np.nan_to_num(x), mask) for x in (_flag(labels, "click"), predictions(slates, "ctr")))
    curves = examination_curves(position, click, ctr, surface)
    found = evidence_from_log(slates, labels, plain, examination=curves, rng=rng, segment=segment)
    exposure = recorded_exposure(
        _as_recorded(dataset, slates), mask, found.examination, rng=rng, temperature=_temperature(policy)
    )
    note = RANDOMISED if exposure is not None else NOT_RANDOMISED
    return replace(found, exposure=exposure), (note,)


def _temperature(policy: ValuePolicy) -> float:
    """Of the Plackett-Luce draw behind the log; recorded logs of other engines hold log-odds."""
    exploration = None if policy.slate is None else policy.slate.exploration
    if exploration is None or exploration.kind is not ExplorationKind.PLACKETT_LUCE:
        return 1.0
    return exploration.amount


def _flag(labels: pa.Table, name: str) -> np.ndarray:
    return to_numpy(labels[name].combine_chunks()).astype(np.float64)


def _as_recorded(dataset: Dataset, slates: pa.Table) -> pa.Table:
    """The same requests with the values and propensities that they were logged with."""
    wanted = slates["request_id"].combine_chunks()
    row = pc.index_in(wanted, dataset.slates["request_id"].combine_chunks())
    return dataset.slates.take(row)


def named(slates: pa.Table, dataset: Dataset) -> Named:
    """Items by their name where the catalogue has one, else by their id."""
    mask = slate_mask(item_offsets(slates))
    items, merchants = (flat(slates, name).cast(pa.string()).dictionary_encode() for name in ("item_id", "merchant_id"))
    ids = items.dictionary
    row = pc.index_in(ids, dataset.items["item_id"].cast(pa.string()).combine_chunks())
    titles = pc.coalesce(dataset.items["name"].combine_chunks().cast(pa.string()).take(row), ids)
    item, merchant = (
        pad(to_numpy(column.indices.fill_null(0)).astype(np.int64), mask) for column in (items, merchants)
    )
    return Named(
        item, merchant, to_numpy(titles).astype(str), to_numpy(merchants.dictionary).astype(str), _titles(slates)
    )


def _titles(slates: pa.Table) -> np.ndarray:
    columns = ("request_id", "surface", "query", "page_item_id", "page_merchant_id", "user_id")
    rows = slates.select(columns).to_pylist()
    about = [row["query"] or row["page_item_id"] or row["page_merchant_id"] or "" for row in rows]
    return np.array(
        [
            f"{row['surface']}{f' “{what}”' if what else ''} · shopper {row['user_id']} · {row['request_id']}"
            for row, what in zip(rows, about, strict=True)
        ],
        dtype=object,
    )
