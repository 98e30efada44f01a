"""Distances of two distributions against their definitions in SciPy, and their null where rows come in clusters."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from evaluation.monitoring.distances import (
    clustered_psi,
    jensen_shannon,
    kolmogorov_smirnov,
    psi,
    quantile_edges,
    wasserstein,
)


def binned(values, edges):
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)


def test_each_distance_is_its_definition():
    rng = np.random.default_rng(0)
    edges = np.arange(1.0, 30.0)
    before, after = np.clip(rng.normal(14, 4, 800), 0.5, 29.5), np.clip(rng.normal(16, 5, 600), 0.5, 29.5)
    before, after = np.floor(before), np.floor(after)  # what lies in a bin lies at its lower edge
    p, q = binned(after, edges), binned(before, edges)
    assert kolmogorov_smirnov(p, q) == pytest.approx(stats.ks_2samp(after, before).statistic)
    assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q) ** 2)
    inner = np.clip(after, 1, 29), np.clip(before, 1, 29)
    assert wasserstein(p, q, edges=edges) == pytest.approx(stats.wasserstein_distance(*inner), abs=0.01)
    assert psi(np.array([50, 50]), np.array([90, 10])) == pytest.approx(-0.4 * np.log(5 / 9) + 0.4 * np.log(5))
    assert psi(np.array([0, 100]), np.array([50, 50])) == pytest.approx(
        (1e-4 - 0.5) * np.log(1e-4 / 0.5) + 0.5 * np.log(2)
    )


def test_edges_are_quantiles_of_the_reference_and_a_constant_has_one():
    edges = quantile_edges(np.append(np.arange(3001.0), np.nan))
    assert np.allclose(edges, np.arange(1, 30) * 100)
    assert quantile_edges(np.full(10, 3.0)).tolist() == [3.0]


def test_clustered_samples_of_one_source_alarm_at_the_nominal_rate_and_another_source_is_seen():
    rng, size = np.random.default_rng(1), 12
    level = rng.normal(size=2000)
    edges = quantile_edges(level)
    of_units = np.zeros((len(level), len(edges) + 1))
    rows = np.searchsorted(edges, level[:, None] + rng.normal(0, 0.3, (len(level), size)))
    np.add.at(of_units, (np.repeat(np.arange(len(level)), size), rows.ravel()), 1)
    p_values, plain = [], []
    for _ in range(150):
        some = of_units[rng.choice(len(of_units), 300)]
        second = np.arange(300) < 100
        p_values.append(clustered_psi(some, second, rng, permutations=60).p_value)
        table = np.stack([some[second].sum(axis=0), some[~second].sum(axis=0)])
        plain.append(stats.chi2_contingency(table[:, table.any(axis=0)]).pvalue)
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.1
    assert np.mean(np.array(plain) < 0.05) > 0.5  # rows taken for independent
    shifted = np.concatenate([of_units[level < 0][:100], of_units[level > -0.5][:200]])
    assert clustered_psi(shifted, np.arange(300) < 100, rng).p_value < 1e-6
