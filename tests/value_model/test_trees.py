"""Boosted trees: the ranker's contract, recovery of known truths, text files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ranking_market import SPEC, assert_is_a_ranker, market, purchases
from sklearn.metrics import roc_auc_score

from value_model.rankers.config import TreesConfig
from value_model.rankers.trees import Trees

CONFIG = TreesConfig(trees=40, leaves=7, learning_rate=0.1, min_rows=50, categories=10)


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
@pytest.mark.parametrize("clicks", [True, False])
def test_it_is_a_ranker_with_and_without_clicks(clicks: bool, library: str) -> None:
    data = market(np.random.default_rng(0)).data
    data = data if clicks else purchases(data)
    trees = Trees.fit(data, spec=SPEC, config=replace(CONFIG, library=library))
    assert trees.heads == (("ctr", "cvr", "order_value") if clicks else ("ctcvr", "order_value"))
    assert_is_a_ranker(trees, data)


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_heads_follow_the_truth_on_new_requests(library: str) -> None:
    train, new = market(np.random.default_rng(1), requests=800), market(np.random.default_rng(2), requests=200)
    heads = Trees.fit(train.data, spec=SPEC, config=replace(CONFIG, library=library)).predict(new.data.inputs)
    assert np.corrcoef(heads["ctr"], new.ctr)[0, 1] > 0.93
    assert np.corrcoef(heads["cvr"], new.cvr)[0, 1] > 0.9


def test_smearing_recovers_the_mean_where_exp_of_the_mean_log_falls_short() -> None:
    train, new = market(np.random.default_rng(3), requests=1500), market(np.random.default_rng(4), requests=400)
    trees = Trees.fit(train.data, spec=SPEC, config=CONFIG)
    mean = new.mean_value.mean()
    assert trees.predict(new.data.inputs)["order_value"].mean() == pytest.approx(mean, rel=0.04)
    assert (
        trees.smearing["order_value"] > 1.05
    )  # exp(0.5 ** 2 / 2) = 1.13 in truth, less what the training rows absorbed


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_saved_trees_predict_the_same_bits(library: str, tmp_path: Path) -> None:
    data = market(np.random.default_rng(5)).data
    trees = Trees.fit(data, spec=SPEC, config=replace(CONFIG, products=True, library=library))
    trees.save(tmp_path)
    loaded = Trees.load(tmp_path)
    for name, values in trees.predict(data.inputs).items():
        np.testing.assert_array_equal(loaded.predict(data.inputs)[name], values)
    np.testing.assert_array_equal(loaded.score(data.inputs, "ctcvr"), trees.score(data.inputs, "ctcvr"))


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_lambdarank_orders_requests_by_what_was_clicked_and_ordered(library: str) -> None:
    train, new = market(np.random.default_rng(6), requests=600), market(np.random.default_rng(7), requests=200)
    trees = Trees.fit(train.data, spec=SPEC, config=replace(CONFIG, lambdarank=True, library=library))
    score = trees.score(new.data.inputs, "lambdarank")
    reached, best = (roc_auc_score(new.data.labels["order"], by) for by in (score, new.ctr * new.cvr))
    assert reached - 0.5 > 0.7 * (best - 0.5)


def test_a_shown_position_is_used_only_where_the_config_takes_it() -> None:
    made = market(np.random.default_rng(8), requests=800, examined=True)
    place = made.data.position
    without = Trees.fit(made.data, spec=SPEC, config=CONFIG)
    np.testing.assert_array_equal(
        without.predict(made.data.inputs)["ctr"], without.predict(made.data.inputs, position=place)["ctr"]
    )
    placed = Trees.fit(made.data, spec=SPEC, config=replace(CONFIG, position=True))
    ctr = placed.predict(made.data.inputs, position=place)["ctr"]
    assert ctr[place == 1].mean() > 2 * ctr[place == 8].mean()


def test_without_an_order_the_reason_is_said() -> None:
    data = market(np.random.default_rng(9), requests=20).data
    nothing = np.zeros_like(data.labels["order"])
    data = replace(data, labels=dict.fromkeys(data.labels, nothing))
    with pytest.raises(ValueError, match="no clicks or no orders"):
        Trees.fit(data, spec=SPEC, config=CONFIG)
