"""Intervals resample shoppers: the requests of one shopper are no independent evidence."""

import numpy as np
import pytest

from evaluation import bootstrap
from evaluation.heads import probability_head


def test_a_sample_holds_all_requests_of_a_shopper_or_none():
    shopper = np.array(["b", "a", "b", "c", "a", "b"])
    counts = bootstrap.resample(6, np.random.default_rng(0), replicates=50, shopper=shopper).counts
    for name in "abc":
        assert np.ptp(counts[:, shopper == name], axis=1).max() == 0
    assert (counts[:, [1, 0, 3]].sum(axis=1) == 3).all()  # three shoppers are drawn, with replacement


def test_requests_of_their_own_are_resampled_as_before():
    alone = bootstrap.resample(40, np.random.default_rng(1), shopper=np.arange(40))
    np.testing.assert_array_equal(alone.counts, bootstrap.resample(40, np.random.default_rng(1)).counts)


def test_the_interval_is_that_of_the_shoppers_means():
    """Each of 300 shoppers repeats one outcome 5 times: the error is that of 300 draws, not of 1,500."""
    rng = np.random.default_rng(2)
    shopper = np.repeat(np.arange(300), 5)
    outcome = np.repeat(rng.normal(size=300), 5)
    samples = bootstrap.resample(1500, rng, replicates=1000, shopper=shopper)
    estimate = bootstrap.means(outcome[:, None], samples)[0].estimate()
    expected = 2 * 1.96 * outcome.std() / np.sqrt(300)
    assert estimate.high - estimate.low == pytest.approx(expected, rel=0.1)
    assert estimate.n == 300


def test_n_counts_the_shoppers_whose_requests_count():
    shopper = np.array(["b", "a", "b", "c", "a", "b"])
    samples = bootstrap.resample(6, np.random.default_rng(0), shopper=shopper)
    where_defined = np.array([[1.0, 1.0], [1.0, np.nan], [2.0, 1.0], [1.0, np.nan], [0.0, np.nan], [1.0, 3.0]])
    assert [mean.estimate().n for mean in bootstrap.means(where_defined, samples)] == [3, 1]
    label = np.array([1, 0, 0, 0, 1, 0])
    heads = probability_head(np.linspace(0.1, 0.6, 6), label, np.arange(7), samples=samples, where=shopper != "c")
    assert heads["auc"].n == heads["log_loss"].n == 2
