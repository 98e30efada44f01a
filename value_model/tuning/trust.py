"""Whether a log can answer for other weights; what cannot be promised is said so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.counterfactual.diagnostics import WeightDiagnostics, weight_diagnostics
from value_model.formula.value_policy import ValuePolicy
from value_model.tuning.credits import LEAST_EXPOSURE
from value_model.tuning.evidence import Evidence


@dataclass(frozen=True)
class TrustConfig:
    """When a prediction from the log is a promise."""

    fewest_requests: float = 200.0  # effective requests
    fewest_events: float = 30.0  # outcomes behind the objective
    most_unsupported: float = 0.02  # share of the proposed exposure that logging hardly ever gives


@dataclass(frozen=True)
class Trust:
    """`problems` is empty where the log can answer; `weights` None = the log was not randomised.

    unsupported: share of the exposure that logging hardly ever gives. clipped: share of the weight that is lost because
    a logging exposure below LEAST_EXPOSURE counts as that.
    """

    problems: tuple[str, ...]
    weights: WeightDiagnostics | None = None
    unsupported: float = 0.0
    clipped: float = 0.0


def trust(
    evidence: Evidence, exposure: np.ndarray, *, outcome: str, config: TrustConfig, least: float = LEAST_EXPOSURE
) -> Trust:
    """Of a ranking with `exposure` [R, n] against the log; `outcome` is the objective's.

    A request's weight is sum_i e_i E_i / L_i over shown items with L_i >= `least`, over sum_i E_i: its mean is 1 where
    L is the truth and supports E.
    """
    if evidence.exposure is None:
        return Trust(("the log was not randomised: nothing tells what other items would have earned",))
    events = float((evidence.feedback[outcome] != 0).sum()) if outcome in evidence.feedback else np.inf
    rare = evidence.exposure < least
    unsupported = float(exposure[rare].sum() / exposure.sum())
    ratio = np.divide(exposure, evidence.exposure, out=np.zeros_like(exposure), where=~rare)
    weight = (evidence.looked * ratio).sum(axis=1) / np.maximum(exposure.sum(axis=1), 1e-12)
    diagnostics = weight_diagnostics(weight)
    problems = []
    if diagnostics.effective < config.fewest_requests:
        problems.append(f"only {diagnostics.effective:.0f} effective requests (wanted: {config.fewest_requests:.0f})")
    if events < config.fewest_events:
        problems.append(f"only {events:.0f} items with an outcome {outcome!r} (wanted: {config.fewest_events:.0f})")
    if unsupported > config.most_unsupported:
        problems.append(f"{unsupported:.1%} of the proposed exposure goes to items that were hardly ever shown")
    return Trust(tuple(problems), diagnostics, unsupported, _clipped(evidence, exposure, least))


def _clipped(evidence: Evidence, exposure: np.ndarray, least: float) -> float:
    """1 - sum e E / max(L, least) / sum e E / L over shown items."""
    assert evidence.exposure is not None
    shown = evidence.position > 0
    weight = (evidence.looked * exposure)[shown]
    whole = (weight / evidence.exposure[shown]).sum()
    return float(1 - (weight / np.maximum(evidence.exposure[shown], least)).sum() / whole) if whole > 0 else 0.0


def out_of_bounds(policy: ValuePolicy) -> list[str]:
    """Weights, also of overrides, that their owners do not allow."""
    problems = []
    for weight in policy.weights:
        values = {"": weight.value} | {f" on {o.key}": o.value for o in (*weight.surface, *weight.segment)}
        problems += [
            f"{weight.name}{where} is {value:g}; its owner allows {weight.low:g} to {weight.high:g}"
            for where, value in values.items()
            if not weight.low <= value <= weight.high
        ]
    return problems
