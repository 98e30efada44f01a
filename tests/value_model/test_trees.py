"""Boosted trees: the ranker's contract, recovery of known truths, text files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ranking_market import SPEC, assert_is_a_ranker, market, purchases, sigmoid
from sklearn.metrics import roc_auc_score

from features.spec import ModelInputs
from value_model.rankers.boosters import Examples, Objective
from value_model.rankers.config import TreesConfig
from value_model.rankers.forest import Forest, Place, Split
from value_model.rankers.forest_tables import forest_tables
from value_model.rankers.trees import LIBRARIES, Trees, kept_categories, matrix

CONFIG = TreesConfig(trees=40, leaves=7, learning_rate=0.1, min_rows=50, categories=10)


ORDERING = {"objective": "lambdarank", "debiased": True, "amounts": "tweedie", "feature_share": 0.8}


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
@pytest.mark.parametrize("clicks", [True, False])
@pytest.mark.parametrize("objectives", [{}, ORDERING], ids=["pointwise", "ordering and Tweedie"])
def test_it_is_a_ranker_with_and_without_clicks(clicks: bool, library: str, objectives: dict[str, object]) -> None:
    data = market(np.random.default_rng(0)).data
    data = data if clicks else purchases(data)
    trees = Trees.fit(data, spec=SPEC, config=replace(CONFIG, library=library, **objectives))
    assert trees.heads == (("ctr", "cvr", "order_value") if clicks else ("ctcvr", "order_value"))
    assert_is_a_ranker(trees, data)
    for head, values in trees.predict(data.inputs).items():  # the trees alone say the same: they are what is exported
        if head in trees.heads:
            score = leaves_of(trees.forest(head), data.inputs)
            expected = np.exp(score) * trees.smearing[head] if head == "order_value" else sigmoid(score)
            np.testing.assert_allclose(values[:200], expected, rtol=1e-5)


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_the_median_stands_in_for_a_number_that_was_always_known_in_training(library: str, tmp_path: Path) -> None:
    data = market(np.random.default_rng(0)).data
    numbers = data.inputs.item_numbers.copy() + np.float32(
        5
    )  # far from 0, for which a library may take what is missing
    numbers[:, 0] = np.where(np.isnan(numbers[:, 0]), 5, numbers[:, 0])
    data = replace(data, inputs=replace(data.inputs, item_numbers=numbers))
    Trees.fit(data, spec=SPEC, config=replace(CONFIG, library=library)).save(tmp_path)
    trees, column = Trees.load(tmp_path), data.inputs.user_numbers.shape[1]
    assert trees.medians[column] == np.quantile(numbers[:, 0], 0.5, method="lower")
    unsent, stood_in = numbers.copy(), numbers.copy()
    unsent[:, 0], stood_in[:, 0] = np.nan, trees.medians[column]
    inputs = [replace(data.inputs, item_numbers=some) for some in (unsent, stood_in)]
    np.testing.assert_array_equal(trees.score(inputs[0], "ctr"), trees.score(inputs[1], "ctr"))
    assert trees.score(inputs[0], "ctr").std() > 0
    places = [forest_tables(trees.forest("ctr"), trees.places).score(vars(some)) for some in inputs]
    np.testing.assert_array_equal(places[0], places[1])
    some_missing = numbers.copy()
    some_missing[0, 0] = np.nan
    again = replace(data, inputs=replace(data.inputs, item_numbers=some_missing))
    assert column not in Trees.fit(again, spec=SPEC, config=replace(CONFIG, library=library, trees=1)).medians


def leaves_of(forest: Forest, inputs: ModelInputs) -> np.ndarray:
    """The sum of each row's leaves, branch by branch."""
    table = matrix(inputs, kept_categories(inputs, CONFIG), None)

    def leaf(node: Split | float, row: np.ndarray) -> float:
        while isinstance(node, Split):
            value = row[node.column]
            left = value <= node.threshold if node.members is None else int(value) in node.members
            node = node.left if left else node.right
        return node

    return np.array([sum(leaf(root, row) for root in forest) for row in table[:200]])


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


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_debiased_trees_tell_a_good_item_from_one_that_stood_high(library: str) -> None:
    """Places follow `trust`, which clicks do not depend on: naive trees take it for a reason to click."""
    rng = np.random.default_rng(10)
    made = market(rng, requests=1000)
    data, trust = made.data, made.data.inputs.cross_numbers[:, 1]
    place = (-trust).reshape(-1, 8).argsort(axis=1).argsort(axis=1).ravel() + 1
    click = (rng.random(len(place)) < made.ctr / place).astype(np.float32)
    labels = {"click": click, "order": click, "order_value": click}
    data = replace(data, labels=labels, position=place.astype(np.int32))
    off = {}
    for debiased in (False, True):
        config = replace(CONFIG, library=library, objective="lambdarank", debiased=debiased)
        off[debiased] = np.corrcoef(Trees.fit(data, spec=SPEC, config=config).score(data.inputs, "ctr"), trust)[0, 1]
    assert off[False] > 0.5
    assert off[True] < 0.9 * off[False]  # LightGBM to less than half, XGBoost by a sixth


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("objective", [Objective.EVENT, Objective.NUMBER])
def test_leaves_hold_the_rows_that_they_must(library: str, objective: Objective) -> None:
    """Of one tree, where XGBoost's curvature is the same in every row: of numbers, and of events as likely as not."""
    rng = np.random.default_rng(3)
    table = rng.integers(0, 40, size=(2_000, 1)).astype(np.float32)
    label = (np.arange(2_000) % 2 if objective is Objective.EVENT else rng.normal(size=2_000)) + 0.0
    examples, sizes = Examples(table, label, np.ones(2_000), {"number": False}), {}
    for least in (20, 300):
        config = TreesConfig(trees=1, leaves=31, min_rows=least)
        forest = LIBRARIES[library].grow(examples, objective=objective, config=config).forest()
        score = forest_tables(forest, [Place("cross_numbers", 0)]).score(
            {"cross_numbers": table, "request": np.zeros(2_000, np.int32)}
        )
        sizes[least] = np.unique(score, return_counts=True)[1]
        assert sizes[least].min() >= least
    assert len(sizes[20]) > len(sizes[300]) > 1


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
    with pytest.raises(ValueError, match=r"no rows to fit cvr on: of [\d,]+ in the training period none has its click"):
        Trees.fit(data, spec=SPEC, config=CONFIG)
