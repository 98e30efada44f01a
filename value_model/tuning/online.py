"""Weights tuned while serving: Thompson sampling over weightings, every request telling of every one of them.

Each request is served by one arm (a weighting) drawn from the posterior, its slate randomised (Plackett-Luce), the
arm and the exposure logged. Doubly robust credits then say what any arm would have earned on that request, so that
no traffic is spent on learning one arm at a time. The posterior is a bootstrap over requests, kept as running sums
(Eckles and Kaptein 2014, Thompson sampling with the online bootstrap): B replicates, in which each request counts
with a weight drawn from Exp(1). Ratios, constraints and their correlation between arms come with it.

A constraint is a guardrail: only arms that keep it in almost every replicate are served; today's always may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.estimate import Estimate
from value_model.formula.constraint import BoundKind, Constraint
from value_model.formula.value_policy import ValuePolicy
from value_model.tuning.credits import Estimator
from value_model.tuning.evidence import Evidence
from value_model.tuning.metrics import STANDARD, Metric
from value_model.tuning.scoring import PolicyScorer
from value_model.tuning.tune import Goal


@dataclass(frozen=True)
class OnlineConfig:
    replicates: int = 100
    confidence: float = 0.99  # share of replicates in which a served arm must keep the guardrails
    first: int = 2_000  # requests served with today's weights before any other arm may be
    metrics: Sequence[Metric] = STANDARD


def spread_arms(
    policy: ValuePolicy, names: Sequence[str], *, count: int, factor: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """[count] weights of every name: today's first, the others spread evenly over [w / factor, w * factor].

    Sobol points in log weight, within the owners' bounds.
    """
    from scipy.stats import qmc  # a second to import, needed here alone

    points = qmc.Sobol(len(names), rng=rng).random_base2(int(count - 1).bit_length())[: count - 1]
    arms = {}
    for name, column in zip(names, points.T, strict=True):
        weight = policy.weight[name]
        others = np.clip(weight.value * factor ** (2 * column - 1), weight.low, weight.high)
        arms[name] = np.concatenate([[weight.value], others])
    return arms


class OnlineTuner:
    """Running sums over A arms: `total` float64 [B + 1, A, C], the last row without resampling."""

    def __init__(
        self,
        policy: ValuePolicy,
        arms: Mapping[str, np.ndarray],
        goal: Goal,
        *,
        rng: np.random.Generator,
        config: OnlineConfig | None = None,
    ) -> None:
        self.policy, self.goal, self.config = policy, goal, config or OnlineConfig()
        self.arms = {name: np.asarray(column, np.float64) for name, column in arms.items()}
        self.requests = 0
        self._rng = rng
        self._total: np.ndarray | None = None
        self._names: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(next(iter(self.arms.values())))

    def weights(self, arm: int) -> dict[str, float]:
        return {name: float(column[arm]) for name, column in self.arms.items()}

    def draw(self, requests: int) -> np.ndarray:
        """int64 [requests]: the arm of each, drawn with the probability that it is the best of those allowed."""
        if self._total is None or self.requests < self.config.first:
            return np.zeros(requests, np.int64)
        goals = np.where(self.allowed(), self._metric(self.goal.maximise)[:-1], -np.inf)
        best = goals.argmax(axis=1)
        return best[self._rng.integers(len(best), size=requests)]

    def learn(self, evidence: Evidence) -> None:
        """From a batch with the exposure of the slates as they were randomised."""
        scorer = PolicyScorer(evidence, self.policy, estimator=Estimator.DR, metrics=self.config.metrics)
        sums = scorer.sums(scorer.complete(self.arms))  # [A, R, C]
        repeats = self._rng.standard_exponential((self.config.replicates, len(evidence)))
        counts = np.concatenate([repeats, np.ones((1, len(evidence)))])
        added = np.einsum("br,arc->bac", counts, sums, optimize=True)
        self._total = added if self._total is None else self._total + added
        self._names = scorer.names
        self.requests += len(evidence)

    def allowed(self) -> np.ndarray:
        """bool [A]: today's arm, and those that keep every guardrail in `confidence` of the replicates."""
        safe = np.ones(self.count, bool)
        for constraint in self.goal.constraints:
            kept = constraint.sign * (self._bounded(constraint)[:-1] - constraint.bound) >= 0
            safe &= kept.mean(axis=0) >= self.config.confidence
        safe[0] = True
        return safe

    def leader(self) -> int:
        """The arm that is best most often, of those allowed."""
        goals = np.where(self.allowed(), self._metric(self.goal.maximise), -np.inf)
        return int(np.bincount(goals[:-1].argmax(axis=1), minlength=self.count).argmax())

    def value_remaining(self) -> float:
        """What staying with the leader may still give away: 95 % quantile over replicates, share of its objective."""
        goals = np.where(self.allowed(), self._metric(self.goal.maximise)[:-1], -np.inf)
        leading = goals[:, self.leader()]
        return float(np.quantile((goals.max(axis=1) - leading) / leading, 0.95))

    def estimate(self, metric: str, arm: int) -> Estimate:
        """The arm's level and the replicates' 95 % interval."""
        values = self._metric(metric)[:, arm]
        low, high = np.quantile(values[:-1], [0.025, 0.975])
        return Estimate(float(values[-1]), float(low), float(high), self.requests)

    def tuned(self) -> ValuePolicy:
        """The policy with the leader's weights."""
        return self.policy.with_weights(self.weights(self.leader()))

    def _metric(self, name: str) -> np.ndarray:
        """[B + 1, A]."""
        if self._total is None:
            raise ValueError("nothing was learned yet: call learn with a served batch first.")
        metric = {m.name: m for m in self.config.metrics}[name]
        above, below = (self._names.index(n) for n in (metric.numerator, metric.denominator))
        with np.errstate(invalid="ignore", divide="ignore"):
            metrics: np.ndarray = self._total[:, :, above] / self._total[:, :, below]
        return metrics

    def _bounded(self, constraint: Constraint) -> np.ndarray:
        """[B + 1, A]: what the constraint bounds, against today's arm of the same replicate."""
        level = self._metric(constraint.metric)
        now = level[:, :1]
        return {BoundKind.LEVEL: level, BoundKind.CHANGE: level - now, BoundKind.RELATIVE: level / now - 1}[
            constraint.of
        ]
