"""XGBoost as a tree library: the same settings as LightGBM's as far as both have them.

Trees grow leaf by leaf from histograms; categories are split into sets. XGBoost bounds a leaf by its summed curvature,
not by its rows (`min_child_weight`): `min_rows` is read as what so many average rows have where the trees start, and
says nothing to a ranking, whose curvature is of pairs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from scipy.special import logit

from value_model.rankers.boosters import Examples, Objective
from value_model.rankers.config import TreesConfig
from value_model.rankers.forest import Forest, Split, tree

NAMES = {
    Objective.EVENT: "binary:logistic",
    Objective.NUMBER: "reg:squarederror",
    Objective.AMOUNT: "reg:tweedie",
    Objective.RANKING: "rank:ndcg",
}
LINKS = {NAMES[Objective.EVENT]: logit, NAMES[Objective.AMOUNT]: np.log}  # of the score that trees start from

TINY = float(np.finfo(np.float32).tiny)  # the smallest normal float32


class XgBoostBooster:
    """Follows `Booster`."""

    def __init__(self, booster: xgboost.Booster) -> None:
        self._booster = booster

    def predict(self, table: np.ndarray) -> np.ndarray:
        data = xgboost.DMatrix(table, feature_types=self._booster.feature_types, enable_categorical=True)
        return self._booster.predict(data).astype(np.float64)

    def forest(self) -> Forest:
        """Its trees, and one more for the score that it starts from."""
        dumps = (json.loads(text) for text in self._booster.get_dump(dump_format="json"))
        return (tree(self._start()), *(tree(_branch(root)) for root in dumps))

    def save(self, path: Path) -> None:
        path.write_bytes(self._booster.save_raw("json"))

    def _start(self) -> float:
        learner = json.loads(self._booster.save_config())["learner"]
        start = float(learner["learner_model_param"]["base_score"].strip("[]"))
        link = LINKS.get(learner["objective"]["name"])
        return start if link is None else float(link(start))


class XgBoost:
    """Follows `TreeLibrary`."""

    def grow(self, examples: Examples, *, objective: Objective, config: TreesConfig) -> XgBoostBooster:
        settings = {
            "objective": NAMES[objective],
            "grow_policy": "lossguide",
            "max_leaves": config.leaves,
            "max_depth": 0,
            "tree_method": "hist",
            "learning_rate": config.learning_rate,
            "colsample_bytree": config.feature_share,
            "min_child_weight": _least_curvature(examples, objective=objective, rows=config.min_rows),
            "lambdarank_unbiased": examples.position is not None,  # places are the order of a request's rows
            "nthread": config.threads,
            "seed": 0,
            "verbosity": 0,
        }
        data = xgboost.DMatrix(
            examples.table,
            examples.label,
            weight=None if objective is Objective.RANKING else examples.weight,  # its weights are of requests
            feature_types=["c" if is_category else "q" for is_category in examples.is_category.values()],
            enable_categorical=True,
        )
        if examples.lengths is not None:
            data.set_group(examples.lengths)
        return XgBoostBooster(xgboost.train(settings, data, config.trees))

    def load(self, path: Path, *, threads: int) -> XgBoostBooster:
        booster = xgboost.Booster(params={"nthread": threads})
        booster.load_model(bytearray(path.read_bytes()))
        return XgBoostBooster(booster)


def _least_curvature(examples: Examples, *, objective: Objective, rows: int) -> float:
    """The summed second derivative, by the score, of the losses of so many average rows where trees start.

    A row's is p (1 - p) of a log loss, 1 of half a squared error, sqrt(mean) of Tweedie's deviance of power 1.5.
    """
    if objective is Objective.RANKING:
        return 1.0  # XGBoost's own: it is of pairs of rows
    weight = examples.weight.astype(np.float64)
    mean = weight @ examples.label / max(weight.sum(), TINY)
    curvature = {Objective.EVENT: mean * (1 - mean), Objective.NUMBER: 1.0, Objective.AMOUNT: max(mean, 0.0) ** 0.5}
    return float(rows * weight.mean() * curvature[objective])


def _branch(node: Mapping[str, Any]) -> Split | float:
    """A node of XGBoost's dump: numbers below the condition go to `yes`, and so do codes of the set."""
    if "leaf" in node:
        return float(node["leaf"])
    children = {child["nodeid"]: child for child in node["children"]}
    left, right = _branch(children[node["yes"]]), _branch(children[node["no"]])
    column, condition, missing_left = int(node["split"][1:]), node["split_condition"], node["missing"] == node["yes"]
    if isinstance(condition, list):
        return Split(column, left, right, members=tuple(map(int, condition)), missing_left=missing_left)
    return Split(column, left, right, _next_below(condition), missing_left=missing_left)


def _next_below(condition: float) -> float:
    """The float32 that is next below, so that x <= it where x < condition.

    Never one below float32's normal range: TensorFlow reads those as 0.
    """
    below = float(np.nextafter(np.float32(condition), np.float32(-np.inf)))
    if 0 < abs(below) < TINY:
        return 0.0 if below > 0 else -TINY
    return below
