"""The experiment that would tell what the log cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from statistics import NormalDist

import numpy as np

POWER, SIGNIFICANCE = 0.8, 0.05
LEAST_EFFECT = 0.01  # of the metric's level: smaller effects are not worth an experiment
LONGEST = 90.0  # days: what takes longer is no experiment, the market has changed before it ends
REMEDIES = "Log more exploration, aim at a larger effect (wider bounds, fewer constraints), or bring more traffic"


@dataclass(frozen=True)
class ExperimentProposal:
    """Arms of weights (the first is today's), requests an arm, and days at the given traffic (None = not given)."""

    arms: tuple[Mapping[str, float], ...]
    requests_per_arm: int
    days: float | None
    detects: float  # the least difference of the objective that it tells, in the objective's unit

    @property
    def feasible(self) -> bool:
        """Whether it ends within LONGEST days; True where the traffic is not known."""
        return self.days is None or self.days <= LONGEST

    def __str__(self) -> str:
        if not self.feasible:
            return self._infeasible()
        return self._design()

    def _infeasible(self) -> str:
        assert self.days is not None
        least = self.detects * (self.days / LONGEST) ** 0.5
        return (
            f"infeasible: {self._design()}; that is more than {LONGEST:.0f} days, in which a difference of {least:.4g} "
            f"or more could be told. {REMEDIES}"
        )

    def _design(self) -> str:
        days = "" if self.days is None else f", {self.days:,.1f} days at today's traffic"
        return (
            f"{len(self.arms)} arms of {self.requests_per_arm:,} requests{days}, "
            f"tells a difference of {self.detects:.4g} with {POWER:.0%} power"
        )


def propose(
    reward: np.ndarray,
    now: Mapping[str, float],
    proposed: Mapping[str, float],
    *,
    effect: float,
    requests_per_day: float | None = None,
) -> ExperimentProposal:
    """Today's weights, half way (geometric where both are positive), and the proposed ones.

    Between policies of other weights there is no half way: two arms.

    reward [R]: the objective by request as logged, whose variance sets the size; `effect`: the expected difference.
    """
    effect = max(abs(effect) if np.isfinite(effect) else 0.0, LEAST_EFFECT * abs(float(reward.mean())), 1e-12)
    same = now.keys() == proposed.keys()
    half_way = ({name: _between(now[name], proposed[name]) for name in now},) if same else ()
    arms = (dict(now), *half_way, dict(proposed))
    size = requests_per_arm(float(reward.var()), effect, arms=len(arms))
    days = None if requests_per_day is None else len(arms) * size / requests_per_day
    return ExperimentProposal(arms, size, days, effect)


def requests_per_arm(variance: float, effect: float, *, arms: int = 2) -> int:
    """2 variance (z_{1 - a/2} + z_power)^2 / effect^2, a divided by the pairs of arms (Bonferroni)."""
    pairs = arms * (arms - 1) / 2
    z = NormalDist().inv_cdf(1 - SIGNIFICANCE / pairs / 2) + NormalDist().inv_cdf(POWER)
    return ceil(2 * variance * (z / effect) ** 2)


def _between(a: float, b: float) -> float:
    return float(np.sqrt(a * b)) if a > 0 and b > 0 else (a + b) / 2
