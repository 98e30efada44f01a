"""Metrics of many weightings at once, with the standard errors that a search needs.

Arrays are [W] over weightings. Standard errors are over requests, differences paired with the current weights. What
`predict` says of the chosen weights is computed afresh, by unit and with intervals chosen for their data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from value_model.formula.value_policy import ValuePolicy
from value_model.tuning.credits import REQUEST, SHOWN, Estimator, credit_names, credits
from value_model.tuning.evidence import Evidence
from value_model.tuning.metrics import STANDARD, Metric, known_metrics
from value_model.tuning.sweep import Sweep, Weightings

TOGETHER = 64


@dataclass(frozen=True)
class Score:
    """One metric of W weightings: level, change against the current weights, relative change; `_error` each.

    A constraint reads the field of its kind (`value_model.tuning.constraint.slack`).
    """

    level: np.ndarray
    change: np.ndarray
    relative: np.ndarray
    level_error: np.ndarray
    change_error: np.ndarray
    relative_error: np.ndarray


Scores = Mapping[str, Score]


class PolicyScorer:
    """Evidence made ready: the sweep, the credits, and the current weights' sums.

    Weightings are `policy`'s; changes are against `today`, None = `policy` as well.
    """

    def __init__(
        self,
        evidence: Evidence,
        policy: ValuePolicy,
        *,
        estimator: Estimator,
        metrics: Sequence[Metric] = STANDARD,
        today: ValuePolicy | None = None,
        threads: int | None = None,
    ) -> None:
        self.evidence, self.policy = evidence, policy
        self.sweep = Sweep.of(policy, evidence.slates, threads=threads)
        self.names = (*credit_names(evidence), SHOWN, REQUEST)
        self.metrics = known_metrics(metrics, self.names)
        self._credits = credits(evidence, estimator)
        self.now = self.sums({name: w[None] for name, w in self._applied(today or policy).items()})[0]

    def sums(self, weightings: Weightings) -> np.ndarray:
        """float64 [W, R, C]: what each request's ranking brings, in the order of `names`."""
        credited = self.sweep.credit(weightings, examination=self.evidence.examination, credits=self._credits)
        fixed = np.column_stack([self.evidence.shown, np.ones(len(self.evidence))])
        return np.concatenate([credited, np.broadcast_to(fixed, (*credited.shape[:2], 2))], axis=2)

    def complete(self, weightings: Weightings) -> dict[str, np.ndarray]:
        """Every weight as its requests have it, from global weights [W]: those that are left out stay as they are.

        [W]; [W, R] where a surface or segment has an override, which stays in force: it shrinks towards the new weight.
        """
        count = len(next(iter(weightings.values())))
        full = {w.name: np.full(count, w.value) for w in self.policy.weights} | dict(weightings)
        return full | {n: at_0 + full[n][:, None] * slope for n, (at_0, slope) in self._overridden.items()}

    @cached_property
    def _overridden(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """([R], [R]) of the weights with overrides: what applies is linear in the global weight."""
        names = [w.name for w in self.policy.weights if w.surface or w.segment]
        at_0, at_1 = (self._applied(self.policy.with_weights(dict.fromkeys(names, x))) for x in (0.0, 1.0))
        return {name: (at_0[name], at_1[name] - at_0[name]) for name in names}

    def _applied(self, policy: ValuePolicy) -> dict[str, np.ndarray]:
        return request_weights(policy, self.evidence.slates.surface, self.evidence.segment)

    def scores(self, weightings: Weightings) -> dict[str, Score]:
        """Every metric of every weighting, [W]; see `complete`."""
        full = self.complete(weightings)
        count = len(next(iter(weightings.values())))
        parts = [
            self._scores(self.sums({name: w[at : at + TOGETHER] for name, w in full.items()}))
            for at in range(0, count, TOGETHER)
        ]
        return {m.name: _joined([part[m.name] for part in parts]) for m in self.metrics}

    def _scores(self, sums: np.ndarray) -> dict[str, Score]:
        return {metric.name: self._score(metric, sums) for metric in self.metrics}

    def _score(self, metric: Metric, sums: np.ndarray) -> Score:
        above, below = (self.names.index(name) for name in (metric.numerator, metric.denominator))
        old, moved_old = _ratio(self.now[None, :, above], self.now[None, :, below])
        new, moved = _ratio(sums[:, :, above], sums[:, :, below])
        with np.errstate(invalid="ignore", divide="ignore"):  # nothing there today: no share of it can be told
            share = new / old
            moved_share = (moved - share[:, None] * moved_old) / old[:, None]
        return Score(new, new - old, share - 1, *map(_error, (moved, moved - moved_old, moved_share)))


def request_weights(policy: ValuePolicy, surface: np.ndarray, segment: np.ndarray) -> dict[str, np.ndarray]:
    """[R] each: the policy's weights for each request's surface and segment, text [R]."""
    pairs = np.stack([surface.astype(str), segment.astype(str)])
    kinds, kind = np.unique(pairs, axis=1, return_inverse=True)
    applied = [policy.weights_for(surface=name, segment=group) for name, group in kinds.T.tolist()]
    return {name: np.array([row[name] for row in applied])[kind.ravel()] for name in policy.weight}


def _ratio(above: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = below.mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = above.mean(axis=1) / mean
        return value, (above - value[:, None] * below) / mean[:, None]


def _error(moved: np.ndarray) -> np.ndarray:
    return moved.std(axis=1) / np.sqrt(moved.shape[1])


def _joined(parts: list[Score]) -> Score:
    return Score(*(np.concatenate(columns) for columns in zip(*(vars(p).values() for p in parts), strict=True)))


def robust(score: Score, *, z: float) -> np.ndarray:
    """[W]: the change's lower confidence bound."""
    return score.change - z * score.change_error
