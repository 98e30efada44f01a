"""A planted carry-over between windows is found, and what shipping does is told from what a window does."""

import numpy as np
import pytest

from evaluation.experiments.effects import Ratio
from evaluation.experiments.switchback import previous_arm, switchback


def windows(rng, *, direct, carried, cities=20, periods=150):
    """Orders of windows whose demand wanders from one to the next, in each city."""
    arm = rng.integers(0, 2, (cities, periods))
    before = np.concatenate([np.full((cities, 1), -1), arm[:, :-1]], axis=1)
    wander = np.zeros((cities, periods))
    for at in range(1, periods):
        wander[:, at] = 0.8 * wander[:, at - 1] + rng.normal(0, 1, cities)
    orders = 20 + wander + direct * arm + carried * (before == 1)
    place, window = np.indices(arm.shape)
    shuffled = rng.permutation(arm.size)
    return [part.ravel()[shuffled] for part in (orders, arm, place, window)]


def test_the_window_before_is_the_same_citys():
    arm, place, window = np.array([1, 0, 1, 0, -1]), np.array([0, 0, 1, 0, 1]), np.array([5, 6, 6, 8, 5])
    assert previous_arm(arm, place, window).tolist() == [-1, 1, -1, -1, -1]


def test_carry_over_is_found_and_shipping_is_told():
    rng, carried, steady, held = np.random.default_rng(8), [], [], 0
    for _ in range(100):
        orders, arm, place, window = windows(rng, direct=1.0, carried=0.5)
        found = switchback({"orders": orders}, Ratio("orders"), arm=arm, place=place, window=window)
        carried.append(float(found.carried.value))
        steady.append(float(found.steady.value))
        estimate = found.carried.fixed()
        held += estimate.low <= 0.5 <= estimate.high
    assert np.mean(carried) == pytest.approx(0.5, abs=0.05)
    assert np.mean(steady) == pytest.approx(1.5 / 20, abs=0.005)
    assert held >= 88
    assert found.carried.p_value < 0.01


def test_a_log_without_neighbours_has_no_carry_over_to_tell():
    nothing = switchback(
        {"orders": np.ones(4)}, Ratio("orders"), arm=np.array([0, 1, 0, 1]), place=np.arange(4), window=np.arange(4)
    )
    assert "fewer than 2 units" in str(nothing.carried.fixed())
