"""LightGBM as a tree library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from value_model.rankers.boosters import Examples, Objective
from value_model.rankers.config import TreesConfig
from value_model.rankers.forest import Forest, Split, float32_below, tree

NAMES = {
    Objective.EVENT: "binary",
    Objective.NUMBER: "regression",
    Objective.AMOUNT: "tweedie",
    Objective.RANKING: "lambdarank",
}
ZERO = float(np.float32(1e-35))  # kZeroThreshold: what is within it is read as 0


class LightGbmBooster:
    """Follows `Booster`."""

    def __init__(self, booster: lightgbm.Booster, *, threads: int) -> None:
        self._booster, self._threads = booster, threads

    def predict(self, table: np.ndarray) -> np.ndarray:
        return np.asarray(self._booster.predict(table, num_threads=self._threads), np.float64)

    def forest(self) -> Forest:
        """Its trees; raises ValueError where zeros count as missing, which no fit here wants."""
        return tuple(tree(_branch(row["tree_structure"])) for row in self._booster.dump_model()["tree_info"])

    def save(self, path: Path) -> None:
        self._booster.save_model(str(path))


class LightGbm:
    """Follows `TreeLibrary`."""

    def grow(self, examples: Examples, *, objective: Objective, config: TreesConfig) -> LightGbmBooster:
        settings = {
            "objective": NAMES[objective],
            "num_leaves": config.leaves,
            "learning_rate": config.learning_rate,
            "min_data_in_leaf": config.min_rows,
            "feature_fraction": config.feature_share,
            "num_threads": config.threads,
            "deterministic": True,
            "verbose": -1,
        }
        data = lightgbm.Dataset(
            examples.table,
            examples.label,
            weight=examples.weight,
            group=examples.lengths,
            position=examples.position,
            feature_name=list(examples.is_category),
            categorical_feature=[name for name, is_category in examples.is_category.items() if is_category],
        )
        return LightGbmBooster(lightgbm.train(settings, data, config.trees), threads=config.threads)

    def load(self, path: Path, *, threads: int) -> LightGbmBooster:
        return LightGbmBooster(lightgbm.Booster(model_file=str(path)), threads=threads)


def _branch(node: Mapping[str, Any]) -> Split | float:
    if "leaf_value" in node:
        return float(node["leaf_value"])
    column, left, right = node["split_feature"], _branch(node["left_child"]), _branch(node["right_child"])
    if node["decision_type"] == "==":
        return Split(column, left, right, members=tuple(int(code) for code in node["threshold"].split("||")))
    if node["missing_type"] == "Zero":
        raise ValueError("these trees take zeros as missing (LightGBM's zero_as_missing): fit them without.")
    # Of type None, a missing number is read as 0.
    missing_left = node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0
    return Split(column, left, right, _float32_threshold(node["threshold"]), missing_left=bool(missing_left))


def _float32_threshold(threshold: float) -> float:
    """The float32 threshold that decides every float32 as LightGBM does."""
    if abs(threshold) > ZERO:
        return float32_below(threshold)
    return ZERO if threshold >= 0 else float(np.nextafter(np.float32(-ZERO), np.float32(-np.inf)))
