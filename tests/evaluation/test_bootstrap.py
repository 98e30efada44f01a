"""Intervals resample shoppers: the requests of one shopper are no independent evidence."""

import numpy as np
import pytest

from evaluation import bootstrap


def test_a_sample_holds_all_requests_of_a_shopper_or_none():
    shopper = np.array(["b", "a", "b", "c", "a", "b"])
    counts = bootstrap.resample(6, np.random.default_rng(0), replicates=50, shopper=shopper)
    for name in "abc":
        assert np.ptp(counts[:, shopper == name], axis=1).max() == 0
    assert (counts[:, [1, 0, 3]].sum(axis=1) == 3).all()  # three shoppers are drawn, with replacement


def test_requests_of_their_own_are_resampled_as_before():
    alone = bootstrap.resample(40, np.random.default_rng(1), shopper=np.arange(40))
    np.testing.assert_array_equal(alone, bootstrap.resample(40, np.random.default_rng(1)))


def test_the_interval_is_that_of_the_shoppers_means():
    """Each of 300 shoppers repeats one outcome 5 times: the error is that of 300 draws, not of 1,500."""
    rng = np.random.default_rng(2)
    shopper = np.repeat(np.arange(300), 5)
    outcome = np.repeat(rng.normal(size=300), 5)
    counts = bootstrap.resample(1500, rng, replicates=1000, shopper=shopper)
    estimate = bootstrap.means(outcome[:, None], counts)[0].estimate()
    expected = 2 * 1.96 * outcome.std() / np.sqrt(300)
    assert estimate.high - estimate.low == pytest.approx(expected, rel=0.1)
