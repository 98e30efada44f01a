"""Looks: which interval an experiment's stop rule allows at the moment of reading.

A rule that plans one look, or a few, has no interval between them: the looks so far are those that were planned.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from evaluation.estimate import Estimate
from evaluation.experiments import sequences, spending
from evaluation.experiments.effects import Contrast, Missing
from evaluation.experiments.experiment_file import ANY_TIME, Experiment, StopRule


@dataclass(frozen=True)
class Look:
    """A moment of reading: `elapsed` is the share of the experiment's days that are over, 1 at most.

    `best_at`: after how many units the confidence sequence is tightest, `expected`: the relative effect for which the
    mixture test is made; both are fixed before the start. `comparisons`: treatments that are held against the control;
    alpha is divided by them. `scale`: what a relative change of 1 is in a contrast's unit.
    """

    rule: StopRule
    alpha: float
    elapsed: float
    best_at: float
    expected: float
    looks: int
    comparisons: int = 1

    @property
    def level(self) -> float:
        return 1 - self.alpha / self.comparisons

    @property
    def fractions(self) -> tuple[float, ...]:
        """Of the planned information at the looks so far, where looks are planned."""
        planned = {StopRule.FIXED_HORIZON: 1, StopRule.GROUP_SEQUENTIAL: self.looks}.get(self.rule, 0)
        return tuple(k / planned for k in range(1, int(self.elapsed * planned + 1e-9) + 1))

    @property
    def allowed(self) -> bool:
        """Whether a decision may rest on this look."""
        return self.rule in ANY_TIME or bool(self.fractions)

    def interval(self, contrast: Contrast, *, scale: float = 1.0) -> Estimate | Missing:
        """The contrast's interval under the rule; before the first planned look, that of one look now."""
        if self.rule is StopRule.ALWAYS_VALID:
            return contrast.any_time(best_at=self.best_at, level=self.level)
        if self.rule is StopRule.MIXTURE:
            return contrast.mixture(expected=self.expected * scale, level=self.level)
        if self.rule is StopRule.FIXED_HORIZON or not self.fractions or contrast.reason:
            return contrast.fixed(level=self.level)
        value, error = float(contrast.value), float(contrast.error)
        return spending.interval(value, error, int(contrast.n), fractions=self.fractions, level=self.level)

    def p_value(self, contrast: Contrast, *, scale: float = 1.0) -> np.ndarray:
        """Any-time under a rule that is, else that of one look."""
        if self.rule is StopRule.MIXTURE:
            return sequences.mixture_p_value(contrast.value, contrast.error, expected=self.expected * scale)
        if self.rule is not StopRule.ALWAYS_VALID:
            return contrast.p_value
        return sequences.p_value(contrast.value, contrast.error, contrast.n, best_at=self.best_at, alpha=1 - self.level)

    def margins(self, contrast: Contrast, *, alarms: int) -> tuple[Estimate, Estimate] | Missing:
        """One-sided any-time bounds: the lower one, that safety rests on, and the upper one, that harm rests on.

        `alarms`: how many guardrails may each raise one; their alpha is divided by them.
        """
        if contrast.reason:
            return Missing(str(contrast.reason))
        value, error, n = float(contrast.value), float(contrast.error), int(contrast.n)
        safe = sequences.safety_bound(value, error, n, best_at=self.best_at, level=1 - self.alpha)
        return safe, sequences.harm_bound(value, error, n, best_at=self.best_at, level=1 - self.alpha / alarms)


def look_of(experiment: Experiment, *, as_of: datetime, best_at: float) -> Look:
    """How the experiment is read at `as_of`."""
    elapsed = (as_of - experiment.start) / timedelta(days=experiment.days)
    stop = experiment.stop
    return Look(
        stop.rule,
        stop.alpha,
        min(max(elapsed, 0.0), 1.0),
        best_at,
        experiment.metrics.minimum_effect,
        stop.looks,
        max(len(experiment.treatments), 1),
    )
