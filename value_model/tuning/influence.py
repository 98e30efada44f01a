"""How much each term decides: what happens to the ranking when it is switched off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.estimate import Estimate
from evaluation.ranking import discounts
from value_model.formula.evaluate import Columns, Weights, evaluate
from value_model.formula.explain import Method, explain
from value_model.formula.value_policy import ValuePolicy


@dataclass(frozen=True)
class Influence:
    """One term's hold on the ranking; `label` is the term's, or the weight's where the formula is no sum.

    ndcg_gap: 1 - NDCG@k of the ranking without it, gains = full value less the slate's lowest.
    displaced: items of the top k that leave it. share: of the sum over terms of the within-slate standard deviation.
    """

    label: str
    ndcg_gap: Estimate
    displaced: Estimate
    share: float


def influence(
    policy: ValuePolicy, columns: Columns, *, k: int, weights: Weights | None = None, mask: np.ndarray | None = None
) -> tuple[Influence, ...]:
    """Every term's influence over R slates, columns [R, n]; intervals are normal, over requests."""
    explained = explain(policy, columns, weights=weights, mask=mask)
    labels, parts = explained.labels, explained.contributions
    if explained.method is Method.ADDITIVE:
        without = [np.delete(parts, i, axis=0).sum(axis=0) for i in range(len(parts))]
    else:
        without = _without(policy, columns, labels, weights=weights, mask=mask)
    return _influence(labels, explained.value, without, parts, k=k, mask=mask)


def influence_of_weights(
    policy: ValuePolicy, columns: Columns, *, k: int, weights: Weights | None = None, mask: np.ndarray | None = None
) -> tuple[Influence, ...]:
    """As `influence`, of every weight that is a term, also of those inside another's formula; label = the weight's."""
    names = tuple(w.name for w in policy.weights if w.term)
    value = evaluate(policy, columns, weights=weights, mask=mask)
    without = _without(policy, columns, names, weights=weights, mask=mask)
    return _influence(names, value, without, value - np.stack(without), k=k, mask=mask)


def _without(
    policy: ValuePolicy,
    columns: Columns,
    names: Sequence[str],
    *,
    weights: Weights | None,
    mask: np.ndarray | None,
) -> list[np.ndarray]:
    """The values with each of the weights at neutral."""
    applied: dict[str, Any] = dict(policy.weights_for() if weights is None else weights)
    off = ({**applied, name: policy.weight[name].neutral} for name in names)
    return [evaluate(policy, columns, weights=others, mask=mask) for others in off]


def _influence(
    labels: Sequence[str],
    value: np.ndarray,
    without: Sequence[np.ndarray],
    moved: np.ndarray,
    *,
    k: int,
    mask: np.ndarray | None,
) -> tuple[Influence, ...]:
    present = np.ones(value.shape, bool) if mask is None else mask
    influences = []
    for label, other, share in zip(labels, without, _shares(moved, present).tolist(), strict=True):
        gap, displaced = _ranking_change(value, other, present, k)
        influences.append(Influence(label, mean_estimate(gap), mean_estimate(displaced), share))
    return tuple(influences)


def mean_estimate(values: np.ndarray) -> Estimate:
    """The mean over requests with its normal 95 % interval."""
    n = len(values)
    mean = float(values.mean()) if n else float("nan")
    half = float(1.96 * values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("inf")
    return Estimate(mean, mean - half, mean + half, n)


def _shares(contributions: np.ndarray, present: np.ndarray) -> np.ndarray:
    """float64 [T]: each term's within-slate standard deviation, averaged over slates, as a share of all terms'."""
    count = np.maximum(present.sum(axis=-1, keepdims=True), 1)
    mean = np.where(present, contributions, 0.0).sum(axis=-1, keepdims=True) / count
    square = np.where(present, (contributions - mean) ** 2, 0.0).sum(axis=-1, keepdims=True) / count
    spread = np.sqrt(square).mean(axis=tuple(range(1, contributions.ndim)))
    return spread / spread.sum() if spread.sum() > 0 else np.zeros(len(contributions))


def _ranking_change(
    value: np.ndarray, without: np.ndarray, present: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """(NDCG gap, displaced items) float64 [R]."""
    k = min(k, value.shape[-1])
    full, other = (np.argsort(np.where(present, -v, np.inf), axis=-1, kind="stable")[:, :k] for v in (value, without))
    lowest = np.where(present, value, np.inf).min(axis=-1, keepdims=True, initial=np.inf)
    gain = np.where(present, value - lowest, 0.0)
    discount = discounts(k)
    ideal = (np.take_along_axis(gain, full, axis=-1) * discount).sum(axis=-1)
    reached = (np.take_along_axis(gain, other, axis=-1) * discount).sum(axis=-1)
    in_full, in_other = np.zeros(value.shape, bool), np.zeros(value.shape, bool)
    np.put_along_axis(in_full, full, True, axis=-1)
    np.put_along_axis(in_other, other, True, axis=-1)
    displaced = (in_full & ~in_other & present).sum(axis=-1).astype(np.float64)
    return np.where(ideal > 0, 1.0 - reached / np.where(ideal > 0, ideal, 1.0), 0.0), displaced
