"""Trees outside their library: the tables and the graph of a forest score every row as the booster does."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranking_market import SPEC

from features.keras2 import tensorflow as tf
from value_model.rankers.boosters import Booster, Examples, Objective
from value_model.rankers.config import TreesConfig
from value_model.rankers.forest import Forest, Place, Split, float32_below, tree
from value_model.rankers.forest_graph import ForestGraph
from value_model.rankers.forest_tables import forest_tables
from value_model.rankers.lightgbm import LightGbmBooster
from value_model.rankers.trees import LIBRARIES, Trees

PLACES = (Place("user_numbers", 0), Place("cross_numbers", 0), Place("cross_numbers", 1), Place("item_codes", 0))
CODES = 40


def rows(rng: np.random.Generator, *, count: int, missing: float) -> np.ndarray:
    """Three numbers, some missing, and a category of CODES codes."""
    numbers = rng.normal(size=(count, 3)).round(2)
    numbers[rng.random(numbers.shape) < missing] = np.nan
    return np.column_stack([numbers, rng.integers(0, CODES, count)]).astype(np.float32)


def booster(library: str, *, missing: float, leaves: int) -> Booster:
    rng = np.random.default_rng(1)
    table = rows(rng, count=3000, missing=missing)
    effect = rng.normal(size=CODES)[table[:, 3].astype(int)]
    target = np.nan_to_num(table[:, 0], nan=0.5) * np.nan_to_num(table[:, 1], nan=-1) + effect + rng.normal(size=3000)
    names = {"a": False, "b": False, "c": False, "category": True}
    config = TreesConfig(trees=30, leaves=leaves, learning_rate=0.2, min_rows=5)
    return LIBRARIES[library].grow(
        Examples(table, target, np.ones(3000), names), objective=Objective.NUMBER, config=config
    )


def scored(forest: Forest, table: np.ndarray) -> np.ndarray:
    """The graph's scores, each row a request of its own; the tables' say the same bits, of none, one or all rows of a
    request too."""
    packed = {
        "user_numbers": table[:, :1],
        "cross_numbers": table[:, 1:3],
        "item_codes": table[:, 3:].astype(np.int32),
        "request": np.arange(len(table), dtype=np.int32),
    }
    tables = forest_tables(forest, PLACES)
    scores = ForestGraph(tables).score({name: tf.constant(part) for name, part in packed.items()}).numpy()
    np.testing.assert_array_equal(tables.score(packed), scores)
    assert tables.score({name: part[:0] for name, part in packed.items()}).shape == (0,)
    of_one = forest_tables(forest, (Place("item_numbers", 0), *PLACES[1:]))
    np.testing.assert_array_equal(of_one.score(packed | {"item_numbers": table[:, :1]}), scores)
    shopper = {"user_numbers": table[:1, :1], "request": np.zeros(len(table), np.int32)}
    alike = np.full((len(table), 1), table[0, 0])
    np.testing.assert_array_equal(tables.score(packed | shopper), of_one.score(packed | {"item_numbers": alike}))
    return scores


# XGBoost sums in float32.
@pytest.mark.parametrize(("library", "tolerance"), [("lightgbm", 1e-9), ("xgboost", 5e-6)])
@pytest.mark.parametrize("missing", [0.0, 0.2], ids=["never missing in training", "missing in training"])
@pytest.mark.parametrize("leaves", [2, 31, 80], ids=["stumps", "one word", "three words"])
def test_a_graph_scores_as_the_booster_does_missing_and_unknown_values_too(
    library: str, tolerance: float, missing: float, leaves: int
) -> None:
    grown = booster(library, missing=missing, leaves=leaves)
    table = rows(np.random.default_rng(2), count=2000, missing=0.3)
    table[::5, 3] = 70  # codes that training did not meet
    table[::7, :3] = [np.finfo(np.float32).max, -np.finfo(np.float32).max, -0.0]
    np.testing.assert_allclose(scored(grown.forest(), table), grown.predict(table), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("library", "tolerance"), [("lightgbm", 1e-9), ("xgboost", 5e-6)])
def test_a_row_on_a_threshold_goes_where_the_booster_sends_it(library: str, tolerance: float) -> None:
    grown = booster(library, missing=0.0, leaves=31)
    edges = np.array(sorted({s.threshold for s in splits(grown.forest()) if s.members is None}), np.float32)
    values = np.concatenate([edges, np.nextafter(edges, np.float32(-np.inf)), np.nextafter(edges, np.float32(np.inf))])
    values = values[(values == 0) | (np.abs(values) >= np.finfo(np.float32).tiny)]
    table = np.column_stack([values, values[::-1], values, np.full(len(values), 3.0)]).astype(np.float32)
    np.testing.assert_allclose(scored(grown.forest(), table), grown.predict(table), rtol=0, atol=tolerance)


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_a_saved_booster_has_the_same_trees(library: str, tmp_path: Path) -> None:
    grown = booster(library, missing=0.2, leaves=31)
    grown.save(tmp_path / "booster")
    assert LIBRARIES[library].load(tmp_path / "booster", threads=1).forest() == grown.forest()


def splits(forest: Forest) -> list[Split]:
    every: list[Split] = []

    def walk(branch: Split | float) -> None:
        if isinstance(branch, Split):
            every.append(branch)
            walk(branch.left)
            walk(branch.right)

    for root in forest:
        walk(root)
    return every


def test_a_tree_without_splits_is_its_leaf() -> None:
    packed = {"user_numbers": np.zeros((2, 1), np.float32), "request": np.array([0, 1, 1], np.int32)}
    graph = ForestGraph(forest_tables((tree(0.25), tree(-1.5)), PLACES))
    np.testing.assert_array_equal(graph.score({name: tf.constant(part) for name, part in packed.items()}), [-1.25] * 3)


@given(st.floats(allow_nan=False), st.floats(width=32, allow_nan=False))
def test_a_rounded_threshold_decides_every_float32_alike(threshold: float, value: float) -> None:
    assert (value <= threshold) == (np.float32(value) <= np.float32(float32_below(threshold)))


def test_what_would_be_served_wrongly_is_refused() -> None:
    table = rows(np.random.default_rng(3), count=500, missing=0.0)
    settings = {"zero_as_missing": True, "verbose": -1, "num_leaves": 4}
    grown = lightgbm.train(settings, lightgbm.Dataset(table, table[:, 0].copy()), 2)
    with pytest.raises(ValueError, match="zeros as missing"):
        LightGbmBooster(grown, threads=1).forest()
    placed = Trees({}, spec=SPEC, heads=(), columns={}, smearing={}, config=TreesConfig(position=True))
    with pytest.raises(ValueError, match="shown position cannot be served"):
        _ = placed.places
