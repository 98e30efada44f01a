"""Examination curves: recovered from clicks, cut to what a request shows."""

import numpy as np
import pytest

from evaluation.bias.examination import examination_curves


def test_examination_is_recovered_from_clicks():
    rng = np.random.default_rng(0)
    truth = {"home": np.arange(1, 9) ** -0.5, "search": np.arange(1, 9) ** -1.2}
    surface = np.array(["home", "search"] * 10_000)
    position = np.tile(np.arange(1, 9), (20_000, 1))
    ctr = rng.beta(2, 10, position.shape)
    looks = np.array([truth[name] for name in surface])
    click = (rng.random(ctr.shape) < ctr * looks) * 1.0
    curves = examination_curves(position, click, ctr, surface)
    for name, curve in truth.items():
        assert curves[name] == pytest.approx(curve, abs=0.04)
        assert (np.diff(curves[name]) <= 0).all()
