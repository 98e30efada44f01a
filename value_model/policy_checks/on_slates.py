"""What only real slates show: terms that decide nothing or everything, draws that decide all, heads that are off."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from marketplace.finding import Finding, Severity, Where
from value_model.formula.evaluate import evaluate
from value_model.formula.logged_slates import LoggedSlates
from value_model.formula.tree import Node, names, terms
from value_model.formula.value_policy import ValuePolicy
from value_model.policy_checks.calibration import HeadCalibration
from value_model.policy_checks.situation import inlined_names
from value_model.slate_policies.perturbed_weights import PerturbedWeights
from value_model.tuning.influence import influence

NEGLIGIBLE, CRUSHING = 0.01, 0.9  # share of the terms' within-slate spread
ROUNDING = 1e-9  # below: the term is the same for all items of a slate, as a merchant's on its own page
TOLERANCE = 0.1  # of a calibration ratio around 1
KEPT, DRAWS = 0.5, 200  # the least share of the best first place's worth that exploration leaves, over so many requests


def shares(policy: ValuePolicy, slates: LoggedSlates, *, k: int = 10) -> Iterator[Finding]:
    """Terms with a negligible or crushing share of influence, per surface; switched-off terms are not spoken of."""
    for surface in slates.surfaces:
        part = slates.on(surface)
        weights = policy.weights_for(surface=surface)
        influences = influence(policy, part.columns, k=k, weights=weights, mask=part.mask)
        for term in influences:
            where = _where(policy, term.label)
            if ROUNDING < term.share < NEGLIGIBLE:
                reason = f"{term.label} makes {term.share:.2%} of the spread on {surface}, displaces {term.displaced}."
                fix = "Raise its weight, or leave it out: it costs attention and decides nothing."
                yield Finding("negligible", where, reason, fix, Severity.WARNING)
            if term.share > CRUSHING and len(influences) > 1:
                reason = f"{term.label} makes {term.share:.1%} of the spread on {surface}: the rest decides nothing."
                yield Finding(
                    "crushing", where, reason, "Lower its weight, or say that it alone ranks.", Severity.WARNING
                )


def unanswered(policy: ValuePolicy, slates: LoggedSlates) -> Iterator[Finding]:
    """Searches that nothing but the value ranks: what is worth more comes before what was searched for."""
    if "search" in slates.surfaces and (policy.slate is None or policy.slate.relevance is None):
        reason = "searches are ranked by value alone: what is worth more comes before what was searched for."
        fix = 'Add [slate.relevance] with tiers = ["name", "all", "nearly", "most", "part"] and band = 20.'
        yield Finding("relevance", policy.where, reason, fix, Severity.WARNING)


def drawn(policy: ValuePolicy, slates: LoggedSlates) -> Iterator[Finding]:
    """Exploration that leaves little of the value's order: of a first place, by the odds of what is drawn for it.

    kept = sum over requests (sum_i odds_i value_i - mean value) / sum over requests (best value - mean value)
    """
    pick = None if policy.slate is None else policy.slate.exploration
    if pick is None or isinstance(pick, PerturbedWeights):
        return
    for surface in slates.surfaces:
        part = slates.take(np.flatnonzero(slates.surface == surface)[:DRAWS])
        values = evaluate(policy, part.columns, weights=policy.weights_for(surface=surface), mask=part.mask)
        rows = [row[known & np.isfinite(row)] for row, known in zip(values, part.mask, strict=True)]
        gains = [(pick.odds(row) @ row - row.mean(), row.max() - row.mean()) for row in rows if len(row)]
        got, most = np.sum(gains, axis=0) if gains else (0.0, 0.0)
        if got < KEPT * most:
            left = f"{max(got / most, 0.0):.0%} of what the best item is worth above the mean"
            reason = f"exploration leaves {left} on {surface}."
            fix = f"Lower {pick.amount}: the draw decides who stands first there, not the value."
            yield Finding("drawn", policy.where, reason, fix, Severity.WARNING)


def miscalibrated(policy: ValuePolicy, calibration: HeadCalibration) -> Iterator[Finding]:
    """Heads whose calibration ratio is surely off on a surface where a weight of theirs applies."""
    used = inlined_names(policy, policy.result)
    heads = [name for name in policy.inputs if name in used and policy.quantity[name].head]
    for surface, ratios in calibration.items():
        weights = policy.weights_for(surface=surface)
        for head in heads:
            ratio = ratios.get(head)
            off = ratio is not None and (ratio.low > 1 + TOLERANCE or ratio.high < 1 - TOLERANCE)
            if off and _applies(policy, head, weights):
                reason = f"{head} promises {ratio} times what happens on {surface}, and is paid for there."
                fix = f"Calibrate {head} on {surface} first, or divide its weight there by {ratio.value:.3g}."  # type: ignore[union-attr]
                yield Finding("calibration", policy.expression[policy.result].where, reason, fix)


def _applies(policy: ValuePolicy, head: str, weights: dict[str, float]) -> bool:
    """Whether some term with the head in it is not switched off by a weight of 0."""
    return _reaches(policy, policy.expression[policy.result].tree, head, weights)


def _reaches(policy: ValuePolicy, tree: Node, head: str, weights: dict[str, float]) -> bool:
    for term in terms(tree):
        used = set(names(term))
        if any(name in weights and weights[name] == 0 and policy.weight[name].term for name in used):
            continue
        if head in used:
            return True
        if any(_reaches(policy, policy.expression[name].tree, head, weights) for name in used & set(policy.expression)):
            return True
    return False


def _where(policy: ValuePolicy, label: str) -> Where:
    """The line of the weight that scales the term, or of the result."""
    if label in policy.weight:
        return policy.weight[label].where
    for expression in policy.expressions:
        for term in terms(expression.tree):
            used = list(names(term))
            if label in used and any(name in policy.weight for name in used):
                return next(policy.weight[name].where for name in used if name in policy.weight)
    return policy.expression[policy.result].where
