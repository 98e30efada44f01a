"""How fast are 1,000 weightings ranked over 10,000 logged slates of 50 items, and are the rankings the same?

A formula that is linear in its weights (the default), one whose logarithm is (funnel_power), and one that has to be
evaluated for every weighting (ads_organic). The baseline is what one would write: per weighting the formula in NumPy on
columns already in memory, argpartition of the top 10, and their order. It is timed on a part of the weightings; the
sweep on all of them, in batches.
"""

from __future__ import annotations

import os
import time

import numpy as np

from benchmarks.record import Measure, record
from value_model.formula import ValuePolicy, default_policy, evaluate, shipped_policy
from value_model.tuning import Sweep

SEED, SLATES, ITEMS, TOP, WEIGHTINGS, PART = 0, 10_000, 50, 10, 1_000, 50
BATCH = 100
Weights = dict[str, np.ndarray]


def generated(policy: ValuePolicy, rng: np.random.Generator, count: int) -> tuple[Weights, Weights]:
    """Columns [R, n] and weightings [count]."""
    columns = {name: rng.random((SLATES, ITEMS)) for name in policy.inputs}
    return columns, {w.name: w.value * np.exp(rng.normal(0, 0.5, count)) for w in policy.weights}


def looped(policy: ValuePolicy, columns: Weights, weights: dict[str, float]) -> np.ndarray:
    value = -evaluate(policy, columns, weights=weights)
    part = np.argpartition(value, TOP, axis=1)[:, :TOP]
    order = np.argsort(np.take_along_axis(value, part, axis=1), axis=1)
    return np.take_along_axis(part, order, axis=1)


def swept(sweep: Sweep, weights: Weights) -> tuple[float, np.ndarray]:
    """(seconds per weighting, the last batch's rankings)."""
    count = len(next(iter(weights.values())))
    start = time.perf_counter()
    for at in range(0, count, BATCH):
        top = sweep.top({name: w[at : at + BATCH] for name, w in weights.items()}, k=TOP)
    return (time.perf_counter() - start) / count, top


def compare(policy: ValuePolicy, *, count: int, bar: str | None) -> list[Measure]:
    columns, weights = generated(policy, np.random.default_rng(SEED), count)
    mask = np.ones((SLATES, ITEMS), bool)
    # Baseline and sweep take turns, so that whatever else the machine does burdens both.
    loops, rankings = [], []
    ones, alls = [], []
    for turn in range(5):
        picked = range(turn * PART // 5, (turn + 1) * PART // 5)
        start = time.perf_counter()
        rankings += [
            looped(policy, columns, {n: float(w[count - PART + i]) for n, w in weights.items()}) for i in picked
        ]
        loops.append((time.perf_counter() - start) / len(picked))
        part = {n: w[turn * count // 5 : (turn + 1) * count // 5] for n, w in weights.items()}
        ones.append(swept(Sweep(policy, columns, mask=mask, threads=1), part)[0])
        alls.append(swept(Sweep(policy, columns, mask=mask), part)[0])
    last = Sweep(policy, columns, mask=mask).top({n: w[count - PART :] for n, w in weights.items()}, k=TOP)
    same = np.mean([(ranking == top).all() for ranking, top in zip(rankings, last, strict=True)])
    loop, one, both = (float(np.median(x)) for x in (loops, ones, alls))
    name = policy.name
    return [
        Measure(f"{name}: NumPy loop", 1e3 * loop, "ms / weighting"),
        Measure(f"{name}: sweep, one core", 1e3 * one, "ms / weighting"),
        Measure(f"{name}: sweep, {os.cpu_count()} cores", 1e3 * both, "ms / weighting"),
        Measure(f"{name}: one core against the loop", loop / one, "x"),
        Measure(f"{name}: {os.cpu_count()} cores against the loop", loop / both, "x", bar),
        Measure(f"{name}: weightings with the same rankings", float(same), "share", ">= 1"),
    ]


def main() -> None:
    measures = compare(default_policy(), count=WEIGHTINGS, bar=">= 5")
    measures += compare(shipped_policy("funnel_power"), count=WEIGHTINGS, bar=">= 5")
    measures += compare(shipped_policy("ads_organic"), count=PART, bar=None)
    data = f"{SLATES} generated slates of {ITEMS} items, top {TOP}, {WEIGHTINGS} weightings (a general formula: {PART})"
    record("weight_sweep", measures, data=data, seed=SEED)


if __name__ == "__main__":
    main()
