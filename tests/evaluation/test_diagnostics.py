"""Diagnostics say yes to honest logs and name what is wrong with the others."""

import numpy as np
import pytest
from scipy.stats import genpareto

from evaluation.counterfactual.diagnostics import propensity_calibration, tail_shape, weight_diagnostics


def logged(rng, n=20_000, *, actions=6):
    logging = rng.dirichlet(np.full(actions, 3.0), n)
    policy = rng.dirichlet(np.full(actions, 3.0), n)
    action = (rng.random((n, 1)) > np.cumsum(logging, axis=1)[:, :-1]).sum(axis=1)
    rows = np.arange(n)
    return logging, policy, action, policy[rows, action] / logging[rows, action]


def test_an_honest_log_has_no_problems():
    logging = np.full((20_000, 4), 0.25)
    action = np.random.default_rng(0).integers(0, 4, 20_000)
    policy = np.tile([0.4, 0.3, 0.2, 0.1], (20_000, 1))
    diagnostics = weight_diagnostics(policy[0, action] / 0.25, policy=policy, logging=logging)
    assert diagnostics.problems() == []
    assert diagnostics.unsupported == 0
    assert diagnostics.effective == pytest.approx(20_000 / (policy[0] ** 2 / 0.25).sum(), rel=0.02)


def test_equal_weights_are_all_effective():
    assert weight_diagnostics(np.ones(500)).effective == pytest.approx(500)


def test_wrong_propensities_show_in_the_mean_weight_and_in_their_calibration():
    rng = np.random.default_rng(1)
    logging, policy, action, _ = logged(rng)
    wrong = logging**1.5
    wrong /= wrong.sum(axis=1, keepdims=True)
    rows = np.arange(len(action))
    assert any("average" in p for p in weight_diagnostics(policy[rows, action] / wrong[rows, action]).problems())
    honest, flawed = propensity_calibration(logging, action), propensity_calibration(wrong, action)
    assert ((honest.low <= honest.x) & (honest.x <= honest.high)).mean() >= 0.7
    assert ((flawed.low <= flawed.x) & (flawed.x <= flawed.high)).mean() <= 0.3


def test_missing_support_is_the_policy_mass_never_shown():
    logging, policy = np.tile([0.5, 0.5, 0.0], (1000, 1)), np.tile([0.3, 0.4, 0.3], (1000, 1))
    action = np.random.default_rng(2).integers(0, 2, 1000)
    diagnostics = weight_diagnostics(policy[0, action] / 0.5, policy=policy, logging=logging)
    assert diagnostics.unsupported == pytest.approx(0.3)
    assert diagnostics.mean.high < 1
    assert len(diagnostics.problems()) == 2


@pytest.mark.parametrize("shape", [0.3, 0.9])
def test_tail_shape_recovers_a_pareto_tail(shape):
    weights = np.random.default_rng(3).pareto(1 / shape, 200_000) + 1
    assert tail_shape(weights) == pytest.approx(shape, abs=0.05)
    tail = np.sort(weights)[-int(3 * np.sqrt(200_000)) - 1 :]
    assert tail_shape(weights) == pytest.approx(genpareto.fit(tail[1:] - tail[0], floc=0)[0], abs=0.01)
    assert (any("tail" in p for p in weight_diagnostics(weights).problems())) == (shape > 0.7)
