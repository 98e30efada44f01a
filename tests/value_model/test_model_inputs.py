"""The Keras input layers, each against a slow oracle."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from ranking_market import SIZES, SPEC

from features.layers.groups import GroupEncoder
from features.layers.numbers import NumberEncoder, distinct_quantiles
from features.layers.tables import EmbeddingTables
from features.spec import Feature, Group, Kind


def tables() -> EmbeddingTables:
    return EmbeddingTables(SPEC, SIZES, width=3, rng=np.random.default_rng(0))


def numbers(values: np.ndarray, *, bins: int = 4, log_scale: bool = False) -> np.ndarray:
    """[z, missing, ramps] of one number, adapted on itself."""
    layer = NumberEncoder((Feature("x", Group.CROSS, Kind.NUMBER, "", log_scale=log_scale),), bins=bins, name="x")
    column = values[:, None].astype(np.float32)
    layer.adapt(column)
    return layer(column).numpy()


def test_features_of_one_vocabulary_share_one_table() -> None:
    shared = tables()
    assert len(shared.trainable_variables) == 2  # segment, item
    history, item = SPEC.features[1], SPEC.features[3]
    codes = np.array([5, 7])
    np.testing.assert_array_equal(shared(codes, history), shared(codes, item))


def test_padding_is_zero_and_a_list_is_the_mean_of_the_rest() -> None:
    shared, history = tables(), SPEC.features[1]
    lists = np.array([[4, 9, 0], [0, 0, 0]])
    pooled = shared.pooled(lists, history).numpy()
    np.testing.assert_allclose(pooled[0], (shared(lists[0, :2], history).numpy()).mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(pooled[1], 0)


def test_a_number_is_standardised_and_coded_by_its_quantiles() -> None:
    values = np.random.default_rng(0).normal(5, 3, 1001)
    coded = numbers(values)
    np.testing.assert_allclose(coded[:, 0], (values - values.mean()) / values.std(), atol=1e-4)
    np.testing.assert_array_equal(coded[:, 1], 0)
    edges = np.quantile(values, np.linspace(0, 1, 5))
    for row, value in zip(coded[::100], values[::100], strict=True):
        ramps = [min(max((value - low) / (high - low), 0), 1) for low, high in pairwise(edges)]
        np.testing.assert_allclose(row[2:], ramps, atol=1e-4)


def test_log_scale_sees_log1p_and_a_negative_is_held_at_zero() -> None:
    values = np.exp(np.random.default_rng(1).normal(3, 2, 500))
    np.testing.assert_allclose(numbers(values, log_scale=True), numbers(np.log1p(values)), atol=2e-3)
    assert np.isfinite(numbers(np.array([-5.0, 0.0, 3.0]), log_scale=True)).all()


def test_missing_says_so_and_nothing_else() -> None:
    coded = numbers(np.array([1.0, np.nan, 3.0]))
    np.testing.assert_array_equal(coded[1], [0, 1, 0, 0, 0, 0])


@pytest.mark.parametrize("log_scale", [False, True])
def test_the_median_stands_in_for_a_number_that_was_never_missing(log_scale: bool) -> None:
    layer = NumberEncoder((Feature("x", Group.CROSS, Kind.NUMBER, "", log_scale=log_scale),), bins=4, name="x")
    layer.adapt(np.array([[5.0], [1.0], [2.0], [9.0]], np.float32))
    missing, median = layer(np.array([[np.nan], [2.0]], np.float32)).numpy()
    np.testing.assert_array_equal(missing, median)
    assert missing[1] == 0


@pytest.mark.parametrize("values", [np.full(5, 7.0), np.full(5, np.nan), np.array([0.0, 0, 0, 0, 1])])
def test_constant_missing_and_rare_columns_stay_finite(values: np.ndarray) -> None:
    assert np.isfinite(numbers(values)).all()


def test_a_number_that_training_never_saw_move_says_nothing_when_it_does() -> None:
    layer = NumberEncoder((Feature("x", Group.CROSS, Kind.NUMBER, ""),), bins=4, name="x")
    layer.adapt(np.full((5, 1), 7, np.float32))
    np.testing.assert_allclose(layer(np.array([[7.0], [900.0]], np.float32)).numpy(), 0, atol=1e-5)


def test_a_rare_value_keeps_its_own_edge() -> None:
    np.testing.assert_array_equal(distinct_quantiles(np.array([0.0] * 999 + [1.0]), 8), [0, 1])


def test_a_group_is_as_wide_as_it_says() -> None:
    encoder = GroupEncoder(SPEC, Group.USER, tables(), bins=4)
    encoded = encoder(np.ones((2, 1), np.int32), np.ones((2, 3), np.int32), np.ones((2, 1), np.float32))
    assert encoded.shape == (2, encoder.width)
