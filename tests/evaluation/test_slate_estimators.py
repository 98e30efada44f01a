"""Slate estimators and slate propensities, against complete enumeration of what the log could have held."""

from itertools import permutations

import numpy as np
import pytest

from evaluation.bias import propensity
from evaluation.counterfactual import slates
from evaluation.counterfactual.intervals import IntervalConfig
from evaluation.counterfactual.slates import SlateLog

ITEMS, DEPTH = 4, 3
EVERY = np.array(list(permutations(range(ITEMS), DEPTH)))  # all 24 slates
SHOWN = np.ones((len(EVERY), DEPTH), bool)


def conditionals(logits):
    """[24, DEPTH] P(item here | items above) of every slate, the obvious way."""
    weight, result = np.exp(logits), np.empty(EVERY.shape)
    for row, slate in enumerate(EVERY):
        left = weight.sum()
        for at, item in enumerate(slate):
            result[row, at] = weight[item] / left
            left -= weight[item]
    return result


def marginals(chance):
    """[DEPTH, ITEMS] of slates with probabilities `chance` [24]."""
    return np.array([np.bincount(EVERY[:, at], chance, minlength=ITEMS) for at in range(DEPTH)])


LOGGING, POLICY = np.array([0.3, -0.2, 0.5, 0.0]), np.array([1.0, -0.5, 0.2, -1.0])
UNDER_LOGGING, UNDER_POLICY = conditionals(LOGGING), conditionals(POLICY)
P_LOGGING, P_POLICY = UNDER_LOGGING.prod(axis=1), UNDER_POLICY.prod(axis=1)
PLACE = np.arange(DEPTH)


def rewards(kind, rng):
    """[24, DEPTH] expected rewards that depend on the whole slate, the items down to the position, or its item."""
    alone, follow = rng.random((DEPTH, ITEMS)), rng.random((DEPTH, ITEMS, ITEMS))
    result = alone[PLACE, EVERY]
    if kind in ("cascade", "whole"):
        for at in range(1, DEPTH):
            result[:, at] *= follow[at, EVERY[:, at - 1], EVERY[:, at]]
    if kind == "whole":
        result[:, 0] *= follow[0, EVERY[:, 0], EVERY[:, -1]]
    return result


def log_of(reward, *, rng):
    ratio = UNDER_POLICY / UNDER_LOGGING
    marginal_ratio = (marginals(P_POLICY) / marginals(P_LOGGING))[PLACE, EVERY]
    predicted, expected = model(rng)
    return SlateLog(reward, ratio, SHOWN, marginal_ratio, predicted, expected, None)


def model(rng):
    """A wrong model of the value to go, and its mean over the policy's choice given the items above."""
    guess = {}
    predicted, expected = np.empty(EVERY.shape), np.zeros(EVERY.shape)
    for row, slate in enumerate(EVERY):
        for at in range(DEPTH):
            predicted[row, at] = guess.setdefault(tuple(slate[: at + 1]), rng.random())
    weight = np.exp(POLICY)
    for row, slate in enumerate(EVERY):
        for at in range(DEPTH):
            left = [i for i in range(ITEMS) if i not in slate[:at]]
            total = sum(weight[i] for i in left)
            expected[row, at] = sum(weight[i] / total * guess[(*slate[:at], i)] for i in left)
    return predicted, expected


def mean_over_logs(terms):
    base, count, correction, _ = terms.columns.T
    return (P_LOGGING * (base / count + correction)).sum()


UNBIASED = {
    "whole": ["sips"],
    "cascade": ["sips", "rips", "cascade_dr"],
    "own": ["sips", "rips", "cascade_dr", "iips"],
}


@pytest.mark.parametrize("kind", UNBIASED)
def test_each_estimator_is_exactly_unbiased_where_it_promises(kind):
    rng = np.random.default_rng(0)
    reward = rewards(kind, rng)
    truth = (P_POLICY * reward.sum(axis=1)).sum()
    log = log_of(reward, rng=rng)
    for name in ("sips", "rips", "iips", "cascade_dr"):
        bias = mean_over_logs(getattr(slates, name)(log)) - truth
        assert (abs(bias) < 1e-12) == (name in UNBIASED[kind]), (name, bias)


def test_pseudo_inverse_needs_only_the_total_of_own_rewards():
    rng = np.random.default_rng(1)
    uniform = np.full(len(EVERY), 1 / len(EVERY))
    for kind, holds in (("own", True), ("whole", False)):
        reward = rewards(kind, rng)
        weight = np.array([slates.pseudo_inverse_weight(EVERY, marginals(P_POLICY), slate) for slate in EVERY])
        log = SlateLog(reward, UNDER_POLICY, SHOWN, pseudo_inverse_weight=weight)
        bias = (uniform * slates.pseudo_inverse(log).correction).sum() - (P_POLICY * reward.sum(axis=1)).sum()
        assert (abs(bias) < 1e-12) == holds, (kind, bias)


def test_factored_weights_are_the_pseudo_inverse_of_independent_positions():
    every = np.stack(np.meshgrid(*[np.arange(3)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    policy = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    ratio = policy[np.arange(2), every] * 3
    general = [slates.pseudo_inverse_weight(every, policy, slate) for slate in every]
    np.testing.assert_allclose(slates.factored_weight(ratio, np.ones(every.shape, bool)), general, atol=1e-12)


def test_shorter_slates_ignore_what_is_not_shown():
    rng = np.random.default_rng(2)
    reward, shown = rng.random((50, 3)), np.arange(3) < rng.integers(1, 4, (50, 1))
    full = [rng.random((50, 3)) + 0.5 for _ in range(4)]
    holes = [np.where(shown, table, np.nan) for table in full]
    noisy = [np.where(shown, table, 7.0) for table in full]
    for one, two in zip(
        slates.all_terms(SlateLog(np.where(shown, reward, np.nan), holes[0], shown, *holes[1:])).values(),
        slates.all_terms(SlateLog(reward, noisy[0], shown, *noisy[1:])).values(),
        strict=True,
    ):
        assert one.value == two.value
        assert np.isfinite(one.value)


def test_estimates_from_sampled_slates_cover_the_truth():
    rng = np.random.default_rng(3)
    reward = rewards("cascade", rng)
    truth = (P_POLICY * reward.sum(axis=1)).sum()
    log, covered = log_of(reward, rng=rng), {"sips": 0, "rips": 0, "cascade_dr": 0, "snsips": 0}
    for _ in range(100):
        drawn = rng.choice(len(EVERY), 400, p=P_LOGGING)
        clicks = (rng.random((400, DEPTH)) < reward[drawn]).astype(float)
        part = SlateLog(clicks, log.ratio[drawn], SHOWN[drawn], None, log.predicted[drawn], log.expected[drawn])
        for name, estimate in slates.evaluate_slates(part, rng=rng, intervals=IntervalConfig(replicates=300)).items():
            covered[name] += estimate.low <= truth <= estimate.high
    assert all(88 <= times <= 100 for times in covered.values()), covered


def test_plackett_luce_conditionals_equal_the_obvious_ones_in_any_row_order():
    rng = np.random.default_rng(4)
    order = rng.permutation(ITEMS)
    offsets = np.arange(0, (len(EVERY) + 1) * ITEMS, ITEMS)
    position = np.zeros((len(EVERY), ITEMS), int)
    np.put_along_axis(position, EVERY, np.broadcast_to(PLACE + 1, EVERY.shape), axis=1)
    logits = np.tile(POLICY[order], len(EVERY))
    ours = propensity.plackett_luce(logits, position[:, order].ravel(), offsets, depth=DEPTH)
    np.testing.assert_allclose(ours, UNDER_POLICY, atol=1e-12)
    np.testing.assert_allclose(propensity.slate_probability(ours), P_POLICY, atol=1e-12)
    assert propensity.slate_probability(ours).sum() == pytest.approx(1, abs=1e-12)


def test_plackett_luce_survives_extreme_logits_and_short_slates():
    logits, position = np.array([800.0, -800.0, 0.0, 5.0]), np.array([1, 0, 2, 1])
    ours = propensity.plackett_luce(logits, position, np.array([0, 3, 4]), depth=3)
    np.testing.assert_allclose(ours, [[1, 1, np.nan], [1, np.nan, np.nan]])


def test_sampled_marginals_lie_within_their_stated_error():
    rng = np.random.default_rng(5)
    truth = marginals(P_POLICY)
    misses, cells = 0, 0
    for _ in range(30):
        sampled = propensity.plackett_luce_marginals(POLICY, depth=DEPTH, rng=rng, samples=500)
        np.testing.assert_allclose(sampled.probability[0], truth[0], atol=1e-12)
        misses += (abs(sampled.probability - truth)[1:] > 1.96 * sampled.error[1:]).sum()
        cells += truth[1:].size
        counting = np.sqrt(truth * (1 - truth) / 500)
        assert (sampled.error <= counting * 1.05).all()
    assert misses / cells < 0.09


def test_a_mixture_of_policies_conditions_on_the_items_above():
    draws = np.stack([conditionals(POLICY * scale) for scale in (0.2, 1.0, 3.0)])
    mixed = propensity.mixture(draws)
    truth = draws.prod(axis=2).mean(axis=0)
    np.testing.assert_allclose(mixed.probability.prod(axis=1), truth, atol=1e-12)
    assert abs(draws.mean(axis=0).prod(axis=1) - truth).max() > 0.01  # the tempting shortcut is wrong
    logs = np.stack([propensity.log_slate_probability(table) for table in draws])
    np.testing.assert_allclose(np.exp(propensity.mixture_of_slates(logs)), truth, atol=1e-12)


def test_samples_follow_their_probabilities():
    rng = np.random.default_rng(6)
    drawn = propensity.plackett_luce_sample(POLICY, depth=DEPTH, rng=rng, samples=40_000)
    share = np.array([(drawn == slate).all(axis=1).mean() for slate in EVERY])
    assert (abs(share - P_POLICY) < 4.5 * np.sqrt(P_POLICY / 40_000)).all()
