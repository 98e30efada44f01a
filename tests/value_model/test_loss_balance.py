"""Balances of losses on toys whose right answer is computed apart: a closed form, a projection, a fixed point."""

from __future__ import annotations

import numpy as np
import pytest
from ranking_market import CLICKS, SIZES, SPEC, market

from features.keras2 import tensorflow as tf
from marketplace.heads import learned_heads
from value_model.rankers.config import NetworkConfig, TrainingConfig
from value_model.rankers.loss_balance import (
    BALANCES,
    ConflictProjection,
    GradientNorms,
    MinNorm,
    inner_products,
    weighted_sum,
)
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.training import Fitting, tensors

SMALL = NetworkConfig(embedding=4, bins=4, experts=2, expert_units=(8, 6), tower_units=4, positions=8)
EVERY, SEED = tf.ones(2), tf.constant([0, 1])
A, B = np.array([2.0, 0.0]), np.array([0.0, 1.0])  # where each loss |theta - target|^2 / 2 is least


def gradients(theta: np.ndarray) -> np.ndarray:
    """Of the two quadratics, [2, 2]."""
    return np.stack([theta - A, theta - B]).astype(np.float32)


@pytest.mark.parametrize("theta", [(1.0, 1.0), (3.0, 0.1), (0.5, 0.75), (-1.0, -1.0), (2.0, 0.0)])
def test_min_norm_of_two_gradients_is_its_closed_form(theta: tuple[float, float]) -> None:
    g = gradients(np.array(theta))
    share = np.clip((g[1] - g[0]) @ g[1] / ((g[0] - g[1]) @ (g[0] - g[1])), 0, 1)
    weights = MinNorm(2)(tf.constant(g @ g.T), tf.ones(2), EVERY, SEED).numpy()
    np.testing.assert_allclose(weights, [share, 1 - share], atol=1e-5)


def test_min_norm_steps_end_where_no_loss_falls_without_the_other_growing() -> None:
    theta = np.array([3.0, 2.0])
    for _ in range(20):
        g = gradients(theta)
        theta = theta - 0.5 * MinNorm(2)(tf.constant(g @ g.T), tf.ones(2), EVERY, SEED).numpy() @ g
    along = (theta - A) @ (B - A) / ((B - A) @ (B - A))
    np.testing.assert_allclose(theta, A + along * (B - A), atol=1e-3)  # on the segment between both optima
    assert 0 <= along <= 1


def test_min_norm_of_many_gradients_is_no_longer_than_any_other_mixture() -> None:
    rng = np.random.default_rng(0)
    g = rng.normal(size=(4, 6)).astype(np.float32)
    weights = MinNorm(4)(tf.constant(g @ g.T), tf.ones(4), tf.ones(4), SEED).numpy()
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    assert weights.min() >= 0
    others = rng.dirichlet(np.ones(4), 20_000)
    assert np.linalg.norm(weights @ g) <= np.linalg.norm(others @ g, axis=1).min() * 1.02
    ended = MinNorm(4)(tf.constant(g @ g.T), tf.ones(4), tf.constant([1.0, 1.0, 0.0, 1.0]), SEED).numpy()
    assert ended[2] == 0


def test_conflicting_gradients_lose_their_part_along_each_other() -> None:
    for first, second in (((1.0, 0.0), (-1.0, 1.0)), ((1.0, 0.2), (0.3, 1.0))):
        g = np.array([first, second], np.float32)
        weights = ConflictProjection(2)(tf.constant(g @ g.T), tf.ones(2), EVERY, SEED).numpy()
        dot = min(g[0] @ g[1], 0)
        expected = g[0] - dot / (g[1] @ g[1]) * g[1] + g[1] - dot / (g[0] @ g[0]) * g[0]
        np.testing.assert_allclose(weights @ g, expected, atol=1e-5)


def test_projections_follow_one_another_in_the_order_that_the_seed_draws() -> None:
    rng = np.random.default_rng(1)
    g = rng.normal(size=(4, 3)).astype(np.float32)
    order = np.argsort(tf.random.stateless_uniform([4], seed=SEED).numpy())
    expected = np.zeros(3)
    for task in range(4):
        part = g[task].astype(np.float64)
        for other in order:
            if other != task and part @ g[other] < 0:
                part = part - part @ g[other] / (g[other] @ g[other]) * g[other]
        expected += part
    weights = ConflictProjection(4)(tf.constant(g @ g.T), tf.ones(4), tf.ones(4), SEED).numpy()
    np.testing.assert_allclose(weights @ g, expected, atol=1e-4)


def test_gradient_norms_are_led_to_one_size_where_losses_fall_alike() -> None:
    """|g| = 1 and 4, both losses at their start: w |g| equal and w summing to 2 give w = 1.6, 0.4."""
    balance = tf.function(GradientNorms(2))
    gram = tf.constant([[1.0, 0.5], [0.5, 16.0]])
    for _ in range(400):
        weights = balance(gram, tf.ones(2), EVERY, SEED).numpy()
    np.testing.assert_allclose(weights, [1.6, 0.4], atol=0.04)
    for _ in range(400):
        slower = balance(gram, tf.constant([1.0, 0.25]), EVERY, SEED).numpy()
    # r = 1.6, 0.4: w_1 / (4 w_2) = (1.6 / 0.4)^1.5 = 8
    np.testing.assert_allclose(slower[0] / (4 * slower[1]), 8, rtol=0.3)
    assert slower.sum() == pytest.approx(2, abs=1e-5)


def test_slices_of_a_table_are_summed_as_the_table_would_be() -> None:
    slices = [tf.IndexedSlices(tf.constant([[1.0], [2.0]]), tf.constant([0, 2])), None]
    slices += [tf.IndexedSlices(tf.constant([[5.0]]), tf.constant([2]))]
    made = weighted_sum(slices, [tf.constant(w) for w in (1.0, 9.0, 0.5)])
    assert isinstance(made, tf.IndexedSlices)
    table = tf.math.unsorted_segment_sum(made.values, made.indices, 3).numpy()
    np.testing.assert_allclose(table, [[1.0], [0.0], [4.5]])
    dense = [[tf.constant([1.0, 2.0]), slices[0]], [tf.constant([3.0, -1.0]), None]]
    np.testing.assert_allclose(inner_products(dense, [True, True]), [[5, 1], [1, 10]])


@pytest.mark.parametrize("name", BALANCES)
def test_a_step_of_a_network_lowers_every_loss(name: str) -> None:
    data = market(np.random.default_rng(0), requests=24).data
    model = NetworkRanker(SPEC, SIZES, config=SMALL, heads=learned_heads(CLICKS), rng=np.random.default_rng(0))
    model.network.adapt(data)
    fitting = Fitting(model, config=TrainingConfig(loss_weights=name, conversion="escm2_dr"), seed=0)
    row, counted = tensors(data, np.zeros(24, bool)), tf.ones(len(fitting._counted))
    steps = [fitting._step(row, SEED, tf.constant(1e-2), counted) for _ in range(4)]  # not compiled: quicker so
    for head in ("ctr", "cvr", "ctcvr", "order_value"):
        assert float(steps[-1][head]) < float(steps[0][head])
    assert np.abs(fitting.imputed["cvr"].kernel).max() > 0
