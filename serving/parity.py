"""Whether two exports of one ranker say the same, on inputs that reach every part of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.spec import Group, Kind, ModelInputs
from serving.scorer import CROSS_INPUTS, ITEM_INPUTS, USER_INPUTS, input_widths
from value_model.rankers.mmoe import MMoE

TOLERANCE = 1e-5


class ExportRefused(ValueError):
    """Two exports of one ranker differ by more than may be: says in what, by how much, and what to do."""


def difference(expected: np.ndarray, actual: np.ndarray) -> float:
    """max |actual - expected| / max(1, |expected|): absolute for probabilities, relative for money; NaN if any is."""
    gap = np.abs(actual.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))
    return float(gap.max(initial=0.0))


def refuse_difference(
    expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray], *, twins: str, tolerance: float = TOLERANCE
) -> float:
    """The greatest difference of any head of `actual`; raises ExportRefused when it is above `tolerance` or NaN."""
    gaps = {name: difference(expected[name], actual[name]) for name in actual}
    worst = max(gaps, key=lambda name: gaps[name] if np.isfinite(gaps[name]) else np.inf)
    if not gaps[worst] <= tolerance:
        raise ExportRefused(
            f"export refused: {twins} differ in {worst!r} by {gaps[worst]:.2g}, allowed is {tolerance:g}. Look for an "
            "operation that converts inexactly, or for weights or inputs so large that float32 cannot hold them."
        )
    return gaps[worst]


def probe_inputs(ranker: MMoE, *, rows: int, rng: np.random.Generator) -> ModelInputs:
    """One request with `rows` candidates, drawn over all codes and a wide range of numbers, a tenth of all missing."""
    widths = input_widths(ranker.spec)

    def numbers(name: str, n: int) -> np.ndarray:
        drawn = rng.lognormal(0, 2, (n, widths[name])) * rng.choice([-1, 1, 1, 1], (n, widths[name]))
        return np.where(rng.random(drawn.shape) < 0.1, np.nan, drawn).astype(np.float32)

    def codes(name: str, n: int) -> np.ndarray:
        drawn = rng.integers(0, _code_limits(ranker, name), (n, widths[name]))
        return np.where(rng.random(drawn.shape) < 0.1, 0, drawn).astype(np.int32)

    def inputs(names: tuple[str, ...], n: int) -> dict[str, np.ndarray]:
        return {name: numbers(name, n) if name.endswith("_numbers") else codes(name, n) for name in names}

    return ModelInputs(
        **inputs(USER_INPUTS, 1),
        **inputs((*ITEM_INPUTS, *CROSS_INPUTS), rows),
        request=np.zeros(rows, np.int32),
    )


def _code_limits(ranker: MMoE, name: str) -> np.ndarray:
    """int64 [columns]: how many codes each column of a `_codes` or `_lists` input can take."""
    group, shape = name.split("_")
    features = ranker.spec.select(Group(group), Kind.CATEGORY if shape == "codes" else Kind.CATEGORIES)
    counts = [max(ranker.sizes[feature.table], 2) for feature in features for _ in range(feature.length)]
    return np.array(counts, np.int64)
