"""A stack: what its network learns from were scores by trees that had not seen the row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ranking_market import SIZES, SPEC, assert_is_a_ranker, market

from features.spec import Group, Kind
from marketplace.finding import FieldError
from marketplace.heads import learned_heads
from value_model.rankers.calibration import log_odds
from value_model.rankers.config import NetworkConfig, TreesConfig
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.stack import Stack, forward_scores, scored_spec, tree_scores
from value_model.rankers.trees import Trees

REQUESTS, PARTS = 200, 4
CONFIGS = {"lightgbm": TreesConfig(trees=8, leaves=4, min_rows=5)}


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    return market(rng, requests=REQUESTS).data, rng.permutation(REQUESTS)  # the order of rows is not that of time


def scores(data, time):
    return forward_scores(data, time=time, spec=SPEC, configs=CONFIGS, parts=PARTS)


def test_a_row_is_scored_by_trees_of_earlier_requests_alone(made):
    data, time = made
    part = (time // (REQUESTS // PARTS))[data.inputs.request]
    before = scores(data, time)
    assert np.isnan(before[part == 0]).all()
    assert np.isfinite(before[part > 0]).all()
    click = np.where(part >= 2, 1 - data.labels["click"], data.labels["click"])
    after = scores(replace(data, labels={**data.labels, "click": click}), time)
    np.testing.assert_array_equal(after[part <= 2], before[part <= 2])  # neither of its own outcome nor of later ones
    assert (after[part == 3, 0] != before[part == 3, 0]).mean() > 0.9
    earlier = {name: label[part < 3] for name, label in data.labels.items()}
    assert min(label.sum() for label in earlier.values()) > 0


def test_the_scores_are_sums_of_leaves(made):
    data, _ = made
    trees = Trees.fit(data, spec=SPEC, config=CONFIGS["lightgbm"])
    heads, columns = trees.predict(data.inputs), tree_scores({"lightgbm": trees}, data.inputs)
    np.testing.assert_allclose(columns[:, 0], log_odds(heads["ctr"]))
    np.testing.assert_allclose(np.exp(columns[:, 2]) * trees.smearing["order_value"], heads["order_value"])


def test_requests_of_one_time_are_in_one_part(made):
    data, time = made
    together = scores(data, np.where(time < 120, 0, time))
    assert np.isnan(together[(time < 120)[data.inputs.request]]).all()


def test_a_stack_is_a_ranker_and_is_saved_whole(made, tmp_path):
    data, _ = made
    trees = {name: Trees.fit(data, spec=SPEC, config=config) for name, config in CONFIGS.items()}
    heads = learned_heads(data.labels)
    spec = scored_spec(SPEC, heads, tuple(trees))
    names = [feature.name for feature in spec.select(Group.CROSS, Kind.NUMBER)]
    assert names == ["match", "trust", "lightgbm_ctr", "lightgbm_cvr", "lightgbm_order_value"]
    shape = NetworkConfig(embedding=4, bins=4, experts=2, expert_units=(8, 6), stack=PARTS)
    stack = Stack(NetworkRanker(spec, SIZES, config=shape, heads=heads, rng=np.random.default_rng(1)), trees)
    assert_is_a_ranker(stack, data)
    stack.save(tmp_path)
    again = Stack.load(tmp_path)
    assert again.spec == SPEC
    for head, values in stack.predict(data.inputs).items():
        np.testing.assert_array_equal(again.predict(data.inputs)[head], values)


def test_one_part_would_score_nothing():
    with pytest.raises(FieldError, match="is 1"):
        NetworkConfig(stack=1)
