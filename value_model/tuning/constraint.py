"""Whether a constraint holds: of scores while searching, of a predicted change once weights are judged."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from evaluation.counterfactual.intervals import PolicyEstimate
from value_model.formula.constraint import BoundKind, Constraint
from value_model.tuning.metrics import Change
from value_model.tuning.scoring import Score


def slack(constraint: Constraint, score: Score, *, z: float | None = None) -> np.ndarray:
    """[W]: how far the one-sided bound (z standard errors) is on the right side; negative = not proven."""
    value, error = getattr(score, constraint.of), getattr(score, f"{constraint.of}_error")
    return constraint.sign * (value - constraint.bound) - (constraint.z if z is None else z) * error


def bounded(constraint: Constraint, change: Change) -> PolicyEstimate:
    """What the constraint bounds."""
    return {BoundKind.LEVEL: change.proposed, BoundKind.CHANGE: change.difference, BoundKind.RELATIVE: change.relative}[
        constraint.of
    ]


def holds(constraint: Constraint, change: Change) -> bool:
    """Whether it is proven, from an interval of any kind, rescaled to the one-sided confidence."""
    estimate = bounded(constraint, change)
    edge = estimate.low if constraint.sign > 0 else estimate.high
    two_sided = NormalDist().inv_cdf(0.5 + estimate.level / 2)
    reached = estimate.value + (edge - estimate.value) * constraint.z / two_sided
    return bool(constraint.sign * (reached - constraint.bound) >= 0)
