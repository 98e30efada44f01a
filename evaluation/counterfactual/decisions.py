"""Off-policy estimators over single decisions: one of A actions was shown, its probability was logged.

Symbols: w = policy(a|x) / logging(a|x) of the action shown, r reward, q(x, a) a reward model, v = sum_a policy(a|x)
q(x, a). The policy's value is E[sum_a policy(a|x) E[r|x, a]], per decision, in the reward's unit. Every estimator is a
few lines of `Terms`; all share the arrays that `read` takes from the log in one pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.counterfactual.intervals import IntervalConfig, PolicyEstimate, interval, kish, no_estimate
from evaluation.counterfactual.refusals import (
    refuse_infinite,
    refuse_lengths,
    refuse_numbers,
    refuse_probabilities,
    refuse_propensity,
    refuse_shape,
)
from evaluation.counterfactual.terms import Terms, value_of

BLOCK = 1 << 15  # decisions at a time
NO_SUPPORT = "no support: the policy takes no action that the log holds; explore while logging, or ask a nearer policy"


@dataclass(frozen=True)
class EstimatorConfig:
    """Weights are ratios of probabilities, without unit."""

    clip: float = 10.0  # clipped IPS caps weights here
    switch: float = 10.0  # Switch-DR trusts the model alone above this weight
    shrinkage: float = 100.0  # DR with optimistic shrinkage: w -> s w / (w^2 + s)


@dataclass(frozen=True)
class Decisions:
    """N logged decisions as a policy sees them; `predicted` and `expected` (q and v) None without a reward model."""

    reward: np.ndarray
    weight: np.ndarray
    predicted: np.ndarray | None = None
    expected: np.ndarray | None = None
    group_weight: np.ndarray | None = None

    def part(self, rows: slice) -> Decisions:
        """Some of the decisions."""
        columns = (self.predicted, self.expected, self.group_weight)
        cut = [None if column is None else column[rows] for column in columns]
        return Decisions(self.reward[rows], self.weight[rows], *cut)


def read(
    reward: np.ndarray,
    action: np.ndarray,
    propensity: np.ndarray,
    policy: np.ndarray,
    *,
    model: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    logging: np.ndarray | None = None,
) -> Decisions:
    """One pass over the log: reward, action, propensity [N]; policy and model (q) [N, A].

    MIPS needs `groups` [A] (what the reward depends on: a category) and `logging` [N, A]. Raises ValueError for what
    the estimators cannot read (`refusals`): it names the argument, the row and what was received.
    """
    refuse_lengths({"reward": reward, "action": action, "propensity": propensity})
    refuse_infinite(reward, name="reward")
    refuse_propensity(propensity, np.ones(len(propensity), bool))
    refuse_probabilities(policy, name="policy", rows=len(reward))
    refuse_numbers(action, name="action", count=policy.shape[1], columns="policy")
    weight = _at(policy, action) / propensity
    predicted = expected = None
    if model is not None:
        refuse_shape(model, policy, name="model")
        predicted, expected = _at(model, action), np.vecdot(policy, model)
        refuse_infinite(expected, name="expected reward by model")
    return Decisions(reward, weight, predicted, expected, _group_weight(action, policy, groups, logging))


def _at(table: np.ndarray, action: np.ndarray) -> np.ndarray:
    """[n]: table[i, action[i]]."""
    return table.ravel().take(np.arange(0, table.size, table.shape[1]) + action)


def _group_weight(
    action: np.ndarray, policy: np.ndarray, groups: np.ndarray | None, logging: np.ndarray | None
) -> np.ndarray | None:
    """policy(group) / logging(group) of the action shown."""
    if groups is None or logging is None:
        return None
    refuse_shape(groups, policy[0], name="groups")
    refuse_probabilities(logging, name="logging", rows=len(action))
    refuse_shape(logging, policy, name="logging")
    member = (groups[:, None] == np.arange(groups.max() + 1)).astype(np.float64)
    taken = groups[action][:, None]
    mass = [np.take_along_axis(p @ member, taken, axis=1)[:, 0] for p in (policy, logging)]
    return mass[0] / mass[1]


def ips(log: Decisions, config: EstimatorConfig) -> Terms:
    """mean w r (Horvitz & Thompson 1952): unbiased under support, heavy-tailed."""
    return Terms(log.weight * log.reward)


def snips(log: Decisions, config: EstimatorConfig) -> Terms:
    """sum w r / sum w (Swaminathan & Joachims 2015): small bias, unmoved by shifts of the reward."""
    return Terms(log.weight * log.reward, normaliser=log.weight)


def clipped_ips(log: Decisions, config: EstimatorConfig) -> Terms:
    """mean min(w, clip) r (Ionides 2008): biased towards 0 for rewards >= 0."""
    return Terms(np.minimum(log.weight, config.clip) * log.reward)


def dm(log: Decisions, config: EstimatorConfig) -> Terms:
    """mean v: the model's own answer, as right as the model."""
    assert log.expected is not None
    return Terms(log.expected)


def dr(log: Decisions, config: EstimatorConfig) -> Terms:
    """mean v + w (r - q) (Dudík et al. 2011): unbiased when either the propensities or the model are right."""
    return _corrected(log, log.weight)


def sndr(log: Decisions, config: EstimatorConfig) -> Terms:
    """mean v + sum w (r - q) / sum w."""
    return _corrected(log, log.weight, normaliser=log.weight)


def switch_dr(log: Decisions, config: EstimatorConfig) -> Terms:
    """mean v + w [w <= switch] (r - q) (Wang, Agarwal & Dudík 2017)."""
    return _corrected(log, log.weight * (log.weight <= config.switch))


def shrunk_dr(log: Decisions, config: EstimatorConfig) -> Terms:
    """mean v + s w / (w^2 + s) (r - q) (Su et al. 2020, optimistic shrinkage)."""
    return _corrected(log, config.shrinkage * log.weight / (log.weight**2 + config.shrinkage))


def mips(log: Decisions, config: EstimatorConfig) -> Terms:
    """mean w_group r (Saito & Joachims 2022): unbiased when the action matters through its group alone."""
    assert log.group_weight is not None
    return Terms(log.group_weight * log.reward)


def _corrected(log: Decisions, weight: np.ndarray, *, normaliser: np.ndarray | None = None) -> Terms:
    assert log.predicted is not None
    return Terms(weight * (log.reward - log.predicted), base=log.expected, normaliser=normaliser)


WEIGHTING = {"ips": ips, "snips": snips, "clipped_ips": clipped_ips}
MODELLING = {"dm": dm, "dr": dr, "sndr": sndr, "switch_dr": switch_dr, "shrunk_dr": shrunk_dr}
GROUPING = {"mips": mips}


def all_terms(log: Decisions, *, config: EstimatorConfig | None = None) -> Iterable[tuple[str, Terms]]:
    """(name, terms) of every estimator that the log allows."""
    estimators = dict(WEIGHTING)
    if log.expected is not None:
        estimators |= MODELLING
    if log.group_weight is not None:
        estimators |= GROUPING
    for name, estimator in estimators.items():
        yield name, estimator(log, config or EstimatorConfig())


def policy_values(log: Decisions, *, config: EstimatorConfig | None = None) -> Mapping[str, float]:
    """Every estimator's point value, from sums over blocks that stay in a core's cache; NaN without support."""
    totals: dict[str, np.ndarray] = {}
    for start in range(0, len(log.reward), BLOCK):
        for name, terms in all_terms(log.part(slice(start, start + BLOCK)), config=config):
            totals[name] = totals.get(name, 0.0) + terms.total
    return {name: float(value_of(total)) if supported(log, name) else np.nan for name, total in totals.items()}


def supported(log: Decisions, name: str) -> bool:
    """Whether the log holds an action (MIPS: a group) that the policy takes; `dm` reads its model alone."""
    weight = log.group_weight if name in GROUPING else log.weight
    return name == "dm" or (weight is not None and bool((weight > 0).any()))


def evaluate_policy(
    log: Decisions,
    *,
    rng: np.random.Generator,
    config: EstimatorConfig | None = None,
    intervals: IntervalConfig | None = None,
    unit: np.ndarray | None = None,
    largest: float | None = None,
) -> dict[str, PolicyEstimate]:
    """Every estimator with its interval; `unit` [N] numbers what is independent (request, shopper), None = each row.

    largest: the largest reward that a decision can bring, for the intervals of rare rewards; None = the largest of the
    log, and at least 1 (a click).
    """
    config, intervals = config or EstimatorConfig(), intervals or IntervalConfig()
    most = max(float(np.abs(log.reward).max()), 1.0) if largest is None else largest
    result = {}
    for name, terms in all_terms(log, config=config):
        if not supported(log, name):
            result[name] = no_estimate(terms, level=intervals.level, reason=NO_SUPPORT)
            continue
        weight = weight_of(log, name, config)
        rewards, grouped = Terms(weight * log.reward), terms
        if unit is not None:
            rewards, grouped = (part.by_unit(unit, int(unit.max()) + 1) for part in (rewards, terms))
        rows = 1.0 if grouped.count is None else float(grouped.count.max())
        events = np.inf if name == "dm" else kish(rewards.correction)
        bound = None if name == "dm" else float(weight.max()) * most * rows
        result[name] = interval(grouped, rng=rng, config=intervals, bound=bound, events=events)
    return result


def weight_of(log: Decisions, name: str, config: EstimatorConfig) -> np.ndarray:
    """[N]: what an estimator multiplies rewards with, at most."""
    if name in GROUPING:
        assert log.group_weight is not None
        return log.group_weight
    return np.minimum(log.weight, config.clip) if name == "clipped_ips" else log.weight
