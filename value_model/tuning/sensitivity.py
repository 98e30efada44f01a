"""How much each weight matters where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.estimate import Estimate
from value_model.formula.value_policy import ValuePolicy
from value_model.tuning.credits import Estimator
from value_model.tuning.evidence import Evidence
from value_model.tuning.scoring import PolicyScorer, Score

NUDGE = 1.1
FACTORS = np.geomspace(0.25, 4, 9)


@dataclass(frozen=True)
class Sensitivity:
    """`per_tenth`: each metric's relative change when the weight grows by 10 %, half the way from 10 % less.

    `harmless`: the factors of today's weight between which the objective loses less than `tolerance` of itself.
    """

    weight: str
    per_tenth: Mapping[str, Estimate]
    harmless: tuple[float, float]


def sensitivities(
    evidence: Evidence,
    policy: ValuePolicy,
    names: Sequence[str],
    *,
    objective: str,
    estimator: Estimator = Estimator.DR,
    tolerance: float = 0.01,
) -> list[Sensitivity]:
    """Of every weight in `names`, all others as they are; intervals are normal, over requests."""
    scorer = PolicyScorer(evidence, policy, estimator=estimator)
    factors = np.concatenate([FACTORS, [1 / NUDGE, NUDGE]])
    result = []
    for name in names:
        scores = scorer.scores({name: policy.weight[name].value * factors})
        nudged = {metric: _per_tenth(score, len(evidence)) for metric, score in scores.items()}
        result.append(Sensitivity(name, nudged, _harmless(scores[objective].relative[: len(FACTORS)], tolerance)))
    return result


def _per_tenth(score: Score, n: int) -> Estimate:
    value = float(score.relative[-1] - score.relative[-2]) / 2
    # The two nudges are paired; the larger error of one bounds the mean difference's.
    half = 1.96 * float(max(score.relative_error[-2:]))
    return Estimate(value, value - half, value + half, n)


def _harmless(relative: np.ndarray, tolerance: float) -> tuple[float, float]:
    middle = int(np.abs(np.log(FACTORS)).argmin())
    fine = relative >= -tolerance
    low = high = middle
    while low > 0 and fine[low - 1]:
        low -= 1
    while high < len(FACTORS) - 1 and fine[high + 1]:
        high += 1
    return float(FACTORS[low]), float(FACTORS[high])
