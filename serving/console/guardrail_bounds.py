"""Bounds of guardrails as people write them: shares and relative changes in per cent, changes of shares in points."""

from __future__ import annotations

from math import isfinite

from desk.publication import RefusedError
from value_model.formula.constraint import BoundKind, Constraint
from value_model.formula.metrics import METRIC


def in_per_cent(constraint: Constraint) -> bool:
    return constraint.of is BoundKind.RELATIVE or METRIC[constraint.metric].share


def in_points(constraint: Constraint) -> bool:
    """Of a share of 8 %, -1 point leaves 7 %, and -1 % leaves 7.92 %."""
    return constraint.of is BoundKind.CHANGE and METRIC[constraint.metric].share


def shown_bound(constraint: Constraint) -> float:
    return float(f"{constraint.bound * (100.0 if in_per_cent(constraint) else 1.0):.10g}")


def bound_text(constraint: Constraint) -> str:
    return f"{shown_bound(constraint):g}{' %' if in_per_cent(constraint) and not in_points(constraint) else ''}"


def bound_of(constraint: Constraint, shown: float) -> float:
    """The bound that is written so; raises RefusedError for one that cannot be."""
    if not isfinite(shown):
        raise RefusedError(f"{constraint.metric} is bounded by a number, not by {shown}.")
    bound = float(f"{shown / (100.0 if in_per_cent(constraint) else 1.0):.10g}")
    if constraint.of is BoundKind.RELATIVE and bound < -1:
        raise RefusedError(f"{constraint.metric} cannot lose more than 100 %: write -100 or more.")
    if constraint.of is BoundKind.LEVEL and METRIC[constraint.metric].share and not 0 <= bound <= 1:
        raise RefusedError(f"{constraint.metric} is a share: write 0 to 100.")
    return bound
