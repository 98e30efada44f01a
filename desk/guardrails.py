"""Lights: what must not be lost while weights are moved, and whether that is proven, likely or broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from value_model.formula import ValuePolicy, default_policy
from value_model.tuning import Change, Constraint, Prediction
from value_model.tuning.constraint import bounded, holds


class GuardrailStatus(StrEnum):
    """Green = proven at the guardrail's confidence; amber = expected, not proven; red = expected to be broken."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True)
class GuardrailResult:
    """One guardrail and how it fares."""

    constraint: Constraint
    status: GuardrailStatus
    reason: str


def guardrails_of(policy: ValuePolicy) -> tuple[Constraint, ...]:
    """The policy's constraints; those of the shipped default where it has none."""
    return policy.constraints or default_policy().constraints


def guardrail_results(prediction: Prediction, guardrails: Sequence[Constraint]) -> tuple[GuardrailResult, ...]:
    """Of every guardrail whose metric is known; without a promise nothing is green."""
    return tuple(_light(prediction, c) for c in guardrails if c.metric in prediction.changes)


def _light(prediction: Prediction, constraint: Constraint) -> GuardrailResult:
    change = prediction[constraint.metric]
    if not constraint.sign * (bounded(constraint, change).value - constraint.bound) >= 0:
        return GuardrailResult(constraint, GuardrailStatus.RED, f"expected to break: {constraint}")
    if not holds(constraint, change):
        return GuardrailResult(constraint, GuardrailStatus.AMBER, f"expected to hold, not proven: {constraint}")
    if not prediction.promised and not _untouched(change):
        return GuardrailResult(constraint, GuardrailStatus.AMBER, f"the heads say so, the log cannot: {constraint}")
    return GuardrailResult(constraint, GuardrailStatus.GREEN, f"holds: {constraint}")


def _untouched(change: Change) -> bool:
    return change.difference.low == change.difference.high == 0
