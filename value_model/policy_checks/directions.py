"""Does the value go where it should? Quantities are nudged in sampled slates and the nudged item's value is watched.

Sampling finds what it meets: no finding is no proof. 400 slates of 8 items, half of them spread evenly over each
quantity's range and half log-evenly, since rates live near 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from marketplace.finding import Finding, Severity
from value_model.formula.evaluate import evaluate
from value_model.formula.quantities import Quantity, Sign
from value_model.formula.units import Unit, parse_unit
from value_model.formula.value_policy import ValuePolicy
from value_model.policy_checks.situation import inlined_names, weightings

SLATES, ITEMS = 400, 8
NUDGES = (0.01, 0.3)  # of the range


def directions(policy: ValuePolicy, rng: np.random.Generator) -> Iterator[Finding]:
    """Quantities whose growth moves the value against their declared sign, one finding each."""
    columns = _sample(policy, rng)
    used = inlined_names(policy, policy.result)
    for name in (name for name in policy.inputs if name in used):
        quantity = policy.quantity[name]
        if quantity.sign is Sign.ANY:
            continue
        for label, weights in weightings(policy):
            worst = _against(policy, columns, quantity, weights)
            if worst is not None:
                yield _finding(policy, quantity, label, *worst)
                break


def erasures(policy: ValuePolicy, rng: np.random.Generator) -> Iterator[Finding]:
    """Pure factors that at 0 leave the same value whatever everything else says.

    A chain of rates and amounts (ctr * cvr * order_value) is an expectation: there 0 means 0, and nothing is said.
    """
    columns = _sample(policy, rng)
    used = inlined_names(policy, policy.result)
    inputs = [name for name in policy.inputs if name in used]
    units = policy.units()
    pure_score = not any(base in ("impression",) or base.isupper() for base, _ in _unit_of_result(policy).powers)
    for name in inputs:
        quantity = policy.quantity[name]
        if quantity.low > 0 or len(inputs) < 2 or not (pure_score or units[name] == Unit()):
            continue
        at_zero = evaluate(policy, columns | {name: np.zeros((SLATES, ITEMS))})
        otherwise = evaluate(policy, columns)
        if np.isfinite(at_zero).all() and np.ptp(at_zero) == 0 and (otherwise != otherwise.flat[0]).any():
            reason = f"{name} = 0 makes {policy.result} {at_zero.flat[0]:.3g} whatever the other inputs say."
            fix = f"Shift the factor, as (1 + w * {name}) ** a, or clip it above 0."
            yield Finding("erased", policy.expression[policy.result].where, reason, fix, Severity.WARNING)


def _unit_of_result(policy: ValuePolicy) -> Unit:
    return parse_unit(policy.unit, currency=policy.currency, where=policy.where)


def _sample(policy: ValuePolicy, rng: np.random.Generator) -> dict[str, np.ndarray]:
    columns = {}
    for name in policy.inputs:
        low, high = policy.quantity[name].low, policy.quantity[name].high
        share = rng.random((SLATES, ITEMS))
        share[SLATES // 2 :] = 10 ** (-6 * share[SLATES // 2 :])
        columns[name] = low + share * (high - low)
    if "merchant" in columns:
        columns["merchant"] = rng.integers(0, 3, (SLATES, ITEMS)).astype(float)
    return columns


def _against(
    policy: ValuePolicy, columns: dict[str, np.ndarray], quantity: Quantity, weights: dict[str, float]
) -> tuple[float, float, float, float] | None:
    """(quantity before, after, value before, after) of the worst item that moves the wrong way."""
    before = evaluate(policy, columns, weights=weights)[:, 0]
    sign = 1.0 if quantity.sign is Sign.PLUS else -1.0
    at = columns[quantity.name]
    for nudge in NUDGES:
        moved = at.copy()
        moved[:, 0] = np.minimum(at[:, 0] + nudge * (quantity.high - quantity.low), quantity.high)
        after = evaluate(policy, columns | {quantity.name: moved}, weights=weights)[:, 0]
        gain = np.where(np.isfinite(after) & np.isfinite(before), sign * (after - before), 0.0)
        worst = int(gain.argmin())
        if gain[worst] < -1e-9 * max(abs(before[worst]), abs(after[worst]), 1e-12):
            return at[worst, 0], moved[worst, 0], before[worst], after[worst]
    return None


def _finding(
    policy: ValuePolicy, quantity: Quantity, label: str, x: float, moved: float, before: float, after: float
) -> Finding:
    goes = "lowers" if after < before else "raises"
    reason = (
        f"{quantity.name} is declared {quantity.sign} but more of it {goes} {policy.result} {label}: "
        f"{quantity.name} {x:.4g} -> {moved:.4g}, {policy.result} {before:.4g} -> {after:.4g}."
    )
    fix = f'Mend the weight or the formula, or declare [quantities.{quantity.name}] with sign = "any" and say why.'
    return Finding("sign", policy.expression[policy.result].where, reason, fix)
