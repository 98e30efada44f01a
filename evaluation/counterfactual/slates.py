"""Off-policy estimators over slates: an ordered list of K items was shown, each position's probability was logged.

Arrays are [R, K], a column a position, `shown` False where a slate is shorter: what stands there does not count.
`ratio` = policy / logging of P(item here | items above) (cascade factors, whose product is the slate's ratio);
`marginal_ratio` = policy / logging of P(item here), whatever stands above. The value is E[sum of rewards of a slate].
Which is unbiased is a statement about users (McInerney et al. 2020; Kiyohara et al. 2022):
  sips   rewards may depend on the whole slate
  rips   a position's reward depends on the items down to it (cascade)
  iips   a position's reward depends on its own item alone (independence)
  cascade_dr  as rips, with a model to lower the variance
  pseudo_inverse  the slate's reward is a sum over positions of the items' own parts; its total is enough
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.bias.propensity import by_position, plackett_luce
from evaluation.counterfactual.intervals import IntervalConfig, PolicyEstimate, interval, kish, no_estimate
from evaluation.counterfactual.refusals import (
    refuse_infinite,
    refuse_lengths,
    refuse_positions,
    refuse_propensity,
    refuse_where,
)
from evaluation.counterfactual.terms import Terms

NO_SUPPORT = "no support: the policy shows nothing that the log holds; explore while logging, or ask a nearer policy"


@dataclass(frozen=True)
class SlateLog:
    """R logged slates as a policy sees them; what is None leaves its estimators out.

    `predicted` [R, K]: model of the reward from this position on (value to go) given the items down to it;
    `expected` [R, K]: its mean over the policy's choice for this position, given the items above;
    `pseudo_inverse_weight` [R]: from `pseudo_inverse_weight` or `factored_weight`.
    """

    reward: np.ndarray
    ratio: np.ndarray
    shown: np.ndarray
    marginal_ratio: np.ndarray | None = None
    predicted: np.ndarray | None = None
    expected: np.ndarray | None = None
    pseudo_inverse_weight: np.ndarray | None = None

    @property
    def earned(self) -> np.ndarray:
        """[R, K]: rewards, 0 where nothing was shown."""
        return np.where(self.shown, self.reward, 0.0)

    @property
    def weight_down_to(self) -> np.ndarray:
        """[R, K]: product of the ratios of this position and all above."""
        return np.cumprod(np.where(self.shown, self.ratio, 1.0), axis=1)


def read(
    reward: np.ndarray,
    position: np.ndarray,
    propensity: np.ndarray,
    logits: np.ndarray,
    offsets: np.ndarray,
    *,
    depth: int,
) -> SlateLog:
    """The first `depth` positions of flattened logs [N] under a Plackett-Luce policy.

    logits [N] = the policy's score / temperature. Rows must be all candidates, position 0 = considered and not shown:
    what was left out of the log cannot compete. The second page of a list is a slate of its own: pass its places on the
    page (`marketplace.slate_columns.page_places`).
    Raises ValueError for what the estimators cannot read (`refusals`): it names the argument, the row and what was
    received.
    """
    columns = {"reward": reward, "position": position, "propensity": propensity, "logits": logits}
    refuse_lengths(columns | {"offsets": np.arange(offsets[-1])})
    refuse_positions(position, propensity, offsets)
    shown = (position > 0) & (position <= depth)
    refuse_propensity(propensity, shown)
    refuse_infinite(np.where(shown, reward, 0.0), name="reward")
    unread = np.isnan(logits) | (logits == np.inf)
    refuse_where(unread, logits, name="logits", remedy="scores are finite, or -infinity for what cannot be shown.")
    policy = plackett_luce(logits, position, offsets, depth=depth)
    rewards, logged = (by_position(values, position, offsets, depth=depth) for values in (reward, propensity))
    return SlateLog(rewards, policy / logged, ~np.isnan(policy))


def sips(log: SlateLog) -> Terms:
    """mean (prod_k ratio_k) (sum_k r_k)."""
    return Terms(log.weight_down_to[:, -1] * log.earned.sum(axis=1))


def self_normalised_sips(log: SlateLog) -> Terms:
    """sum (prod_k ratio_k) (sum_k r_k) / sum (prod_k ratio_k)."""
    weight = log.weight_down_to[:, -1]
    return Terms(weight * log.earned.sum(axis=1), normaliser=weight)


def rips(log: SlateLog) -> Terms:
    """mean sum_k (prod_{j<=k} ratio_j) r_k (McInerney et al. 2020, reward interaction IPS)."""
    return Terms((log.weight_down_to * log.earned).sum(axis=1))


def iips(log: SlateLog) -> Terms:
    """mean sum_k marginal_ratio_k r_k (Li et al. 2018)."""
    assert log.marginal_ratio is not None
    return Terms((np.where(log.shown, log.marginal_ratio, 0.0) * log.earned).sum(axis=1))


def cascade_dr(log: SlateLog) -> Terms:
    """mean sum_k W_k (r_k - Q_k) + W_{k-1} E_policy[Q_k], W_k = prod_{j<=k} ratio_j (Kiyohara et al. 2022)."""
    assert log.predicted is not None
    assert log.expected is not None
    weight = log.weight_down_to
    above = np.column_stack([np.ones(len(weight)), weight[:, :-1]])
    predicted, expected = (np.where(log.shown, model, 0.0) for model in (log.predicted, log.expected))
    corrected = weight * (log.earned - predicted) + above * expected
    return Terms(corrected.sum(axis=1) - expected[:, 0], base=expected[:, 0])


def pseudo_inverse(log: SlateLog) -> Terms:
    """mean (q^T Gamma^+ 1_slate) (sum_k r_k) (Swaminathan et al. 2017)."""
    assert log.pseudo_inverse_weight is not None
    return Terms(log.pseudo_inverse_weight * log.earned.sum(axis=1))


def factored_weight(marginal_ratio: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """[R]: pseudo-inverse weights 1 + sum_k (marginal_ratio_k - 1), for logging that draws each position by itself."""
    return 1 + np.where(shown, marginal_ratio - 1, 0.0).sum(axis=1)


def pseudo_inverse_weight(sampled: np.ndarray, policy_marginal: np.ndarray, slate: np.ndarray) -> float:
    """The weight of one slate under any logging policy: q^T Gamma^+ 1_slate, Gamma = E_logging[1 1^T].

    sampled [S, K]: slates drawn from the logging policy (or all of them, where they are few and equally likely), items
    numbered 0..M-1; policy_marginal [K, M]: P(item at position) of the policy in question; slate [K]: as shown.
    """
    depth, items = policy_marginal.shape
    place = np.arange(depth) * items
    indicator = np.zeros((len(sampled), depth * items))
    np.put_along_axis(indicator, sampled + place, 1.0, axis=1)
    gamma = indicator.T @ indicator / len(sampled)
    return float(policy_marginal.ravel() @ np.linalg.pinv(gamma, hermitian=True)[:, slate + place].sum(axis=1))


def all_terms(log: SlateLog) -> dict[str, Terms]:
    """Every estimator that the log allows."""
    result = {"sips": sips(log), "snsips": self_normalised_sips(log), "rips": rips(log)}
    if log.marginal_ratio is not None:
        result["iips"] = iips(log)
    if log.predicted is not None:
        result["cascade_dr"] = cascade_dr(log)
    if log.pseudo_inverse_weight is not None:
        result["pseudo_inverse"] = pseudo_inverse(log)
    return result


def evaluate_slates(
    log: SlateLog,
    *,
    rng: np.random.Generator,
    intervals: IntervalConfig | None = None,
    unit: np.ndarray | None = None,
    largest: float | None = None,
) -> Mapping[str, PolicyEstimate]:
    """Every estimator's value per slate with its interval; `unit` [R] numbers what is independent (shopper, day).

    largest: the largest reward that one position can bring, for the intervals of rare rewards; None = the largest of
    the log, and at least 1 (a click).
    """
    intervals = intervals or IntervalConfig()
    most = max(float(np.abs(log.earned).max()), 1.0) if largest is None else largest
    result = {}
    for name, terms in all_terms(log).items():
        weight = weight_of(log, name)
        if not (weight != 0).any():
            result[name] = no_estimate(terms, level=intervals.level, reason=NO_SUPPORT)
            continue
        rewards, grouped = Terms((weight * log.earned).sum(axis=1)), terms
        if unit is not None:
            rewards, grouped = (part.by_unit(unit, int(unit.max()) + 1) for part in (rewards, terms))
        rows = 1.0 if grouped.count is None else float(grouped.count.max())
        bound = float(weight.sum(axis=1).max()) * most * rows
        result[name] = interval(grouped, rng=rng, config=intervals, bound=bound, events=kish(rewards.correction))
    return result


def weight_of(log: SlateLog, name: str) -> np.ndarray:
    """[R, K]: what an estimator multiplies each position's reward with."""
    if name == "iips":
        assert log.marginal_ratio is not None
        return np.where(log.shown, log.marginal_ratio, 0.0)
    if name == "pseudo_inverse":
        assert log.pseudo_inverse_weight is not None
        return np.where(log.shown, log.pseudo_inverse_weight[:, None], 0.0)
    down_to = log.weight_down_to
    return np.where(log.shown, down_to[:, -1:] if name in ("sips", "snsips") else down_to, 0.0)
