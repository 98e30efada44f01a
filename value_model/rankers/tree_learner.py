"""Boosted trees as a regression of anything on a table: the base learner of uplift (`evaluation.uplift`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from value_model.rankers.boosters import Booster, Examples, Objective, TreeLibrary
from value_model.rankers.config import TreesConfig
from value_model.rankers.lightgbm import LightGbm

# Effects are small and noisy beside what explains outcomes: fewer, coarser trees than a ranker's.
EFFECT_TREES = TreesConfig(trees=100, leaves=8, learning_rate=0.05, min_rows=200)


LIBRARY = LightGbm()


@dataclass(frozen=True)
class TreeLearner:
    """Follows `BaseLearner`: a target of 0 and 1 alone is an event, and answered by its probability.

    `categories`: columns that hold codes; further ones, which a meta-learner appends, are numbers.
    """

    categories: frozenset[int] = frozenset()
    config: TreesConfig = EFFECT_TREES
    library: TreeLibrary = LIBRARY

    def fit(self, table: np.ndarray, target: np.ndarray, *, weight: np.ndarray | None = None) -> Booster:
        weight = np.ones(len(target)) if weight is None else weight
        names = {f"column_{place}": place in self.categories for place in range(table.shape[1])}
        objective = Objective.EVENT if np.isin(target, (0, 1)).all() else Objective.NUMBER
        examples = Examples(table.astype(np.float32), target, weight, names)
        return self.library.grow(examples, objective=objective, config=self.config)
