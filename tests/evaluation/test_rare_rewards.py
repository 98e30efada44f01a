"""Rare rewards, no support, and what the estimators refuse: exact intervals, no estimate, clear errors."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from evaluation.counterfactual import betting as exact
from evaluation.counterfactual import slates
from evaluation.counterfactual.decisions import Decisions, evaluate_policy, policy_values, read
from evaluation.counterfactual.diagnostics import propensity_calibration, weight_diagnostics

UNIFORM = np.full((4, 2), 0.5)


@pytest.mark.parametrize(("events", "trials"), [(0, 50), (1, 5000), (7, 30), (50, 50)])
def test_clopper_pearson_is_scipy_s(events, trials):
    expected = binomtest(events, trials).proportion_ci(0.95, method="exact")
    assert exact.clopper_pearson(events, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def coverage(interval, trials, rate):
    """P(the interval of a binomial count holds its rate), summed over all counts that occur."""
    counts = np.arange(int(binom.ppf(1 - 1e-9, trials, rate)) + 1)
    held = [low <= rate <= high for low, high in (interval(int(count)) for count in counts)]
    return float((binom.pmf(counts, trials, rate) * held).sum())


CELLS = [(100, 1), (100, 5), (3000, 1), (3000, 3), (100_000, 1)]
GRID = [(n, expected) for n in (30, 100, 1000, 10_000, 1_000_000) for expected in (1, 2, 3, 5, 8, 12, 20)]
GRID = [pytest.param(*cell, marks=pytest.mark.slow) for cell in GRID if cell not in CELLS]


@pytest.mark.parametrize(("trials", "expected"), CELLS + GRID)
def test_exact_intervals_cover_down_to_one_expected_reward(trials, expected):
    def betting(count):
        return exact.betting(np.repeat([0.0, 1.0], [trials - count, count]), bound=1.0)

    rate = expected / trials
    assert coverage(lambda count: exact.clopper_pearson(count, trials), trials, rate) >= 0.95
    assert coverage(betting, trials, rate) >= 0.95


RUNS = [(*cell, 500) for cell in [(300, 1), (300, 4), (3000, 1), (3000, 12)]]


@pytest.mark.slow
@pytest.mark.parametrize(("n", "expected", "runs"), RUNS)
def test_every_estimator_s_interval_covers_with_rare_weighted_rewards(n, expected, runs):
    """Weights .2 or 1.8, rewards at one rate, and a model that is right: all estimators answer the rate."""
    rng, rate, covered = np.random.default_rng(0), expected / n, {}
    for _ in range(runs):
        reward, weight = (rng.random(n) < rate) * 1.0, rng.choice([0.2, 1.8], n)
        log = Decisions(reward, weight, np.full(n, rate), np.full(n, rate), weight)
        for name, estimate in evaluate_policy(log, rng=rng).items():
            covered[name] = covered.get(name, 0) + (estimate.low <= rate <= estimate.high)
    del covered["dm"]  # reads no reward
    assert all(times >= 0.94 * runs for times in covered.values()), covered


def test_an_interval_is_never_of_no_width_without_a_reward():
    rng, n = np.random.default_rng(1), 400
    log = Decisions(np.zeros(n), rng.random(n) * 2, np.zeros(n), np.zeros(n))
    for unit in (None, np.repeat(np.arange(n // 4), 4)):
        for name, estimate in evaluate_policy(log, rng=rng, unit=unit).items():
            assert name == "dm" or (estimate.value == 0 and estimate.high > 3 / n), name
    plain = Decisions(np.zeros(n), np.ones(n))
    assert evaluate_policy(plain, rng=rng)["ips"].high == pytest.approx(1 - 0.025 ** (1 / n))
    wide, narrow = (evaluate_policy(plain, rng=rng, largest=largest)["ips"].high for largest in (50.0, 2.0))
    assert wide == pytest.approx(25 * narrow)


def test_slates_without_a_reward_have_an_interval_too():
    ratio, shown = np.full((200, 3), 0.9), np.ones((200, 3), bool)
    estimates = slates.evaluate_slates(slates.SlateLog(np.zeros((200, 3)), ratio, shown), rng=np.random.default_rng(2))
    assert all(estimate.value == 0 and estimate.high > 0.01 for estimate in estimates.values())


def test_no_support_gives_no_estimate_and_says_why():
    rng, policy = np.random.default_rng(3), np.tile([0.0, 1.0], (4, 1))
    log = read(np.ones(4), np.zeros(4, int), np.full(4, 0.5), policy, model=np.full((4, 2), 0.3))
    values = policy_values(log)
    for name, estimate in evaluate_policy(log, rng=rng).items():
        if name == "dm":
            assert estimate.value == values[name] == pytest.approx(0.3)
        else:
            assert np.isnan([estimate.value, estimate.low, estimate.high, values[name]]).all(), name
            assert "no support" in estimate.reason
    unseen = slates.SlateLog(np.ones((5, 2)), np.zeros((5, 2)), np.ones((5, 2), bool))
    assert all(np.isnan(estimate.value) for estimate in slates.evaluate_slates(unseen, rng=rng).values())


def decision_log(**changes):
    columns = {"reward": np.ones(4), "action": np.array([0, 1, 0, 1]), "propensity": np.full(4, 0.5), "policy": UNIFORM}
    return columns | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action": np.array([0, 1, 2, 0])}, "action: row 2 is 2; numbers go from 0 to 1"),
        ({"action": np.array([0, -1, 1, 0])}, "action: row 1 is -1"),
        ({"action": np.array([0.0, 1.0, 1.0, 0.0])}, "action: dtype is float64"),
        ({"policy": UNIFORM * [[1], [1], [0.9], [1]]}, r"sum of policy: row 2 is 0\.9; .* divide each row"),
        ({"policy": np.where([[0], [1], [0], [0]], np.nan, UNIFORM)}, "sum of policy: row 1 is nan"),
        ({"policy": np.tile([-0.25, 1.25], (4, 1))}, "policy: row 0 is -0.25; a probability"),
        ({"policy": UNIFORM[:3]}, r"policy: shape is \(3, 2\)"),
        ({"propensity": np.array([0.5, np.nan, 0.5, 0.5])}, "propensity: row 1 is nan"),
        ({"reward": np.array([0, 0, 0, np.inf])}, "reward: row 3 is inf"),
        ({"reward": np.ones(3)}, "columns: .*'reward': 3"),
        ({"model": np.full((4, 2), np.nan)}, "expected reward by model: row 0 is nan"),
        ({"model": np.ones((4, 3))}, r"model: shape is \(4, 3\); expected is \(4, 2\)"),
        ({"groups": np.zeros(2, int), "logging": UNIFORM * 0.8}, "sum of logging: row 0 is 0.8"),
    ],
)
def test_unreadable_decisions_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        read(**decision_log(**changes))


@pytest.mark.parametrize(
    ("position", "logits", "message"),
    [
        ([1, 1, 2, 1, 2, 0], np.zeros(6), "position: row 1 of request 0 is 1, which is repeated"),
        ([1, 2, 4, 1, 2, 0], np.zeros(6), "position: row 2 of request 0 is 4, which follows 2"),
        ([1, 2, 3, 2, 3, 0], np.zeros(6), "position: row 3 of request 1 is 2, which follows 0"),
        ([0, 1, 2, 0, 1, 2], np.zeros(6), "position: row 0 is 0 and has propensity 0.5.* Add 1"),
        ([1, 2, 3, 1, 2, -1], np.zeros(6), "position: row 5 is -1"),
        ([1, 2, 3, 1, 2, 0], np.array([0, 0, 0, 0, 0, np.nan]), "logits: row 5 is nan"),
        ([1, 2, 3, 1, 2, 0], np.array([0, np.inf, 0, 0, 0, 0]), "logits: row 1 is inf"),
    ],
)
def test_unreadable_slates_are_refused(position, logits, message):
    offsets, propensity = np.array([0, 3, 6]), np.full(6, 0.5)
    with pytest.raises(ValueError, match=message):
        slates.read(np.zeros(6), np.array(position), propensity, logits, offsets, depth=3)


def test_diagnostics_refuse_what_they_cannot_read():
    with pytest.raises(ValueError, match="weight: row 1 is nan"):
        weight_diagnostics(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="action: row 0 is 5"):
        propensity_calibration(UNIFORM, np.array([5, 0, 0, 0]))
