"""Reading of interleaved variants: what the rival would bring against the policy in force, from the mixed lists alone.

Each shopper is compared with himself, so that no other arm is needed; the effect is that of an A/B test of the two
policies, not of the mixed lists against the control. It rests on examination by place, read off the same lists by their
clicks over the ranker's `ctr` (`evaluation.bias.examination`), or assumed where there is none: 1 / log2(1 + place).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from evaluation.bias.examination import examination_curves
from evaluation.estimate import Estimate
from evaluation.experiments.effects import Contrast, Missing, Ratio, missing, within
from evaluation.experiments.experiment_file import Experiment
from evaluation.experiments.interleaving import debiased_worth, team_credit
from evaluation.experiments.looks import Look
from evaluation.experiments.sums import unit_sums
from evaluation.experiments.unit_table import UnitTable
from evaluation.ranking import discounts
from marketplace.attribution import Attribution
from marketplace.schema import LIST_ODDS, LIST_PLACE, RIVAL_ODDS
from marketplace.slate_columns import (
    flat,
    names,
    numeric_features,
    page_places,
    predictions,
    request_of_rows,
    to_numpy,
)

OUTCOMES = {"clicks": "click", "orders": "order", "gmv": "order_value", "net_gmv": "net_value"}


@dataclass(frozen=True)
class InterleavedReading:
    """The rival of `variant` against the policy in force: `difference` per request, `relative` to what is in force.

    `preferred`: outcomes on places that the rival filled less those of the other, over both. `assumed`: examination is.
    `contrast`: the relative difference before a look's interval, which guardrails are held against.
    """

    variant: str
    outcome: str
    difference: Estimate | Missing
    relative: Estimate | Missing
    preferred: Estimate | Missing
    p_value: float
    assumed: bool
    contrast: Contrast


def interleaved_readings(
    joined: Attribution, experiment: Experiment, table: UnitTable, kept: np.ndarray, look: Look
) -> Iterator[InterleavedReading]:
    """Every outcome of every interleaved variant; `kept` bool [U] are the units that count.

    Nothing of a variant whose slates tell of no lists, as in a log that is read without its features.
    """
    for variant in experiment.treatments:
        if variant.interleave is None:
            continue
        unit = np.full(len(joined.slates), -1)
        inside = ((table.variant == table.variants.index(variant.name)) & kept)[table.unit]
        unit[table.slate[inside]] = table.unit[inside]
        unit[numeric_features(joined.slates, f"{LIST_PLACE}0").lengths == 0] = -1
        if (unit >= 0).any():
            yield from _readings(joined, unit, variant.name, look)


def _readings(joined: Attribution, unit: np.ndarray, variant: str, look: Look) -> Iterator[InterleavedReading]:
    part = _only(joined, unit >= 0)
    curves, assumed = _curves(part)
    _, unit = np.unique(unit[unit >= 0], return_inverse=True)
    for outcome, label in OUTCOMES.items():
        happened = to_numpy(part.labels[label]).astype(float)
        if not happened.any():
            nothing, none = Missing(f"no {outcome}"), missing(f"no {outcome}")
            yield InterleavedReading(variant, outcome, nothing, nothing, nothing, float("nan"), assumed, none)
            continue
        counted = _columns(part, happened, curves)
        columns = {name: np.bincount(unit, column) for name, column in counted.items()}
        columns["requests"] = np.bincount(unit).astype(float)
        sums = unit_sums(columns, np.zeros(len(columns["requests"]), int), groups=1)[0].means
        gain, in_force = (within(sums, Ratio(name, "requests")) for name in ("gain", "in_force"))
        scale, relative = abs(float(in_force.value)), within(sums, Ratio("gain", "in_force"))
        yield InterleavedReading(
            variant,
            outcome,
            look.interval(gain, scale=scale),
            look.interval(relative),
            look.interval(within(sums, Ratio("preferred", "credited"))),
            float("nan") if gain.reason else float(look.p_value(gain, scale=scale)),
            assumed,
            relative,
        )


def _only(joined: Attribution, requests: np.ndarray) -> Attribution:
    labels = joined.labels.filter(pa.array(requests[request_of_rows(joined.slates)]))
    return replace(joined, slates=joined.slates.filter(pa.array(requests)), labels=labels)


def _curves(part: Attribution) -> tuple[dict[str, np.ndarray], bool]:
    """Examination by surface, as deep as any list, and whether it is assumed."""
    slates = part.slates
    position, ctr = to_numpy(flat(slates, "position")).astype(int), predictions(slates, "ctr")
    surface = _surface(slates)[request_of_rows(slates)]
    clicks = to_numpy(part.labels["click"]).astype(float)
    if np.nansum(ctr[position > 0]) > 0 and clicks.any():
        return examination_curves(position, clicks, np.nan_to_num(ctr), surface), False
    return dict.fromkeys(np.unique(surface).tolist(), discounts(int(position.max(initial=1)))), True


def _columns(part: Attribution, outcome: np.ndarray, curves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """float64 [R] by name: gains of the rival, what the policy in force brings, and the credits by team."""
    slates = part.slates
    rows, request = np.flatnonzero(outcome), request_of_rows(slates)
    known, request, outcome = set(names(slates, "numeric")), request[rows], outcome[rows]
    lists = [number for number in range(len(known)) if f"{LIST_PLACE}{number}" in known]
    place = np.stack([_items(slates, f"{LIST_PLACE}{number}")[rows] for number in lists], axis=1).astype(int)
    odds = np.stack([_requests(slates, f"{LIST_ODDS}{number}")[request] for number in lists], axis=1)
    place = np.where(place > 0, place + page_places(slates)[1][request, None], 0)
    worth = debiased_worth(outcome, place, odds, _by_row(curves, _surface(slates)[request], place), teams=2)
    rival = _items(slates, RIVAL_ODDS)[rows]
    credit = team_credit(outcome, np.stack([1 - rival, rival], axis=1))
    columns = {
        "gain": worth[:, 1] - worth[:, 0],
        "in_force": worth[:, 0],
        "preferred": credit[:, 1] - credit[:, 0],
        "credited": outcome,
    }
    return {name: np.bincount(request, column, minlength=len(slates)) for name, column in columns.items()}


def _by_row(curves: dict[str, np.ndarray], surface: np.ndarray, place: np.ndarray) -> np.ndarray:
    """float64 [N, K]: the curve of each row's surface; below its last place as there."""
    depth = int(place.max(initial=1))
    table = np.ones((len(surface), depth))
    for name, curve in curves.items():
        table[surface == name] = curve[np.minimum(np.arange(depth), len(curve) - 1)]
    return table


def _surface(slates: pa.Table) -> np.ndarray:
    return to_numpy(slates["surface"].cast(pa.string())).astype(str)


def _items(slates: pa.Table, name: str) -> np.ndarray:
    """float64 [N]: a numeric entry of every item; 0 where a slate has none."""
    cells, request = numeric_features(slates, name), request_of_rows(slates)
    whole, result = cells.lengths > 0, np.zeros(len(request))
    result[whole[request]] = to_numpy(cells.values)
    return result


def _requests(slates: pa.Table, name: str) -> np.ndarray:
    """float64 [R]: a numeric entry of every request; 0 where a slate has none."""
    cells = numeric_features(slates, name)
    result = np.zeros(len(slates))
    result[cells.lengths > 0] = to_numpy(cells.values)
    return result
