"""Boosted trees as a regression of anything on a table: the base learner of uplift (`evaluation.uplift`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from value_model.rankers.boosters import Booster, Examples, Objective, TreeLibrary
from value_model.rankers.config import TreesConfig
from value_model.rankers.lightgbm import LightGbm

# Of outcomes in trials: fewer, coarser trees than a ranker's.
TRIAL_TREES = TreesConfig(trees=100, leaves=8, learning_rate=0.05, min_rows=200)

LIBRARY = LightGbm()


@dataclass(frozen=True)
class TreeLearner:
    """Follows `BaseLearner`: a target of 0 and 1 alone is an event, and answered by its probability.

    `categories`: columns that hold codes; further ones, which a meta-learner appends, are numbers. `leaf_share`: of all
    rows, how many a leaf has at least, where that is more than the `config` says.
    """

    categories: frozenset[int] = frozenset()
    config: TreesConfig = TRIAL_TREES
    leaf_share: float = 0.0
    library: TreeLibrary = LIBRARY

    def fit(self, table: np.ndarray, target: np.ndarray, *, weight: np.ndarray | None = None) -> Booster:
        weight = np.ones(len(target)) if weight is None else weight
        names = {f"column_{place}": place in self.categories for place in range(table.shape[1])}
        objective = Objective.EVENT if np.isin(target, (0, 1)).all() else Objective.NUMBER
        examples = Examples(table.astype(np.float32), target, weight, names)
        config = replace(self.config, min_rows=max(self.config.min_rows, int(self.leaf_share * len(target))))
        return self.library.grow(examples, objective=objective, config=config)


def effect_ladder(
    categories: frozenset[int] = frozenset(), config: TreesConfig = TRIAL_TREES
) -> tuple[TreeLearner, ...]:
    """Trees of effects, coarse to fine, the finest as fine as those of outcomes (`evaluation.uplift.choice`)."""
    coarse, medium = replace(config, leaves=4, trees=50), replace(config, leaves=6)
    return (
        TreeLearner(categories, coarse, leaf_share=0.05),
        TreeLearner(categories, medium, leaf_share=0.02),
        TreeLearner(categories, config),
    )
