"""Parity: whether two exports of one ranker say the same, on real rows, or else on inputs that reach all parts of it.

A difference is relative to the head's scale, the largest value that is expected among the rows: float32 rounds
differently from one runtime to the next, and a steep calibrator multiplies it, which moves no slate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from features.spec import FeatureSpec, Group, Kind, ModelInputs
from serving.scorer import CROSS_INPUTS, ITEM_INPUTS, USER_INPUTS, input_widths

TOLERANCE = 1e-3  # of the head's scale; a wrong operation is off by more, rounding by less
TINY = 1e-30


class Vocabulary(Protocol):
    """Which features there are, and how many codes each of their tables has: an encoder, or a ranker made for one."""

    @property
    def spec(self) -> FeatureSpec: ...

    @property
    def sizes(self) -> Mapping[str, int]: ...


class ExportRefused(ValueError):
    """Two exports of one ranker differ by more than may be: says in what, by how much, and what to do."""


def difference(expected: np.ndarray, actual: np.ndarray) -> float:
    """max |actual - expected| / max |expected| over the rows; NaN if any is."""
    gap = np.abs(actual.astype(np.float64) - expected).max(initial=0.0)
    return float(gap / np.abs(expected).max(initial=TINY))


def worst_difference(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> tuple[str, float]:
    """The head of `actual` that differs most, a NaN before all, and by how much."""
    gaps = {name: difference(expected[name], actual[name]) for name in actual}
    worst = max(gaps, key=lambda name: gaps[name] if np.isfinite(gaps[name]) else np.inf)
    return worst, gaps[worst]


def refuse_difference(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray], *, twins: str) -> float:
    """The greatest difference of any head of `actual`; raises ExportRefused when it is above TOLERANCE or NaN."""
    head, gap = worst_difference(expected, actual)
    if not gap <= TOLERANCE:
        raise ExportRefused(
            f"export refused: {twins} differ in {head!r} by {gap:.2g} of its largest value, allowed is {TOLERANCE:g}. "
            "Look for an operation that converts inexactly, or for weights or inputs so large that float32 cannot hold "
            "them."
        )
    return gap


def probe_inputs(vocabulary: Vocabulary, *, rows: int, rng: np.random.Generator) -> ModelInputs:
    """One request with `rows` candidates, drawn over all codes and a wide range of numbers, a tenth of all missing."""
    widths = input_widths(vocabulary.spec)

    def numbers(name: str, n: int) -> np.ndarray:
        drawn = rng.lognormal(0, 2, (n, widths[name])) * rng.choice([-1, 1, 1, 1], (n, widths[name]))
        return np.where(rng.random(drawn.shape) < 0.1, np.nan, drawn).astype(np.float32)

    def codes(name: str, n: int) -> np.ndarray:
        drawn = rng.integers(0, _code_limits(vocabulary, name), (n, widths[name]))
        return np.where(rng.random(drawn.shape) < 0.1, 0, drawn).astype(np.int32)

    def inputs(names: tuple[str, ...], n: int) -> dict[str, np.ndarray]:
        return {name: numbers(name, n) if name.endswith("_numbers") else codes(name, n) for name in names}

    return ModelInputs(
        **inputs(USER_INPUTS, 1),
        **inputs((*ITEM_INPUTS, *CROSS_INPUTS), rows),
        request=np.zeros(rows, np.int32),
    )


def _code_limits(vocabulary: Vocabulary, name: str) -> np.ndarray:
    """int64 [columns]: how many codes each column of a `_codes` or `_lists` input can take."""
    group, shape = name.split("_")
    features = vocabulary.spec.select(Group(group), Kind.CATEGORY if shape == "codes" else Kind.CATEGORIES)
    counts = [max(vocabulary.sizes[feature.table], 2) for feature in features for _ in range(feature.length)]
    return np.array(counts, np.int64)
