"""How fine a regression of effects may be: the coarsest that is not surely worse on held-out rows.

Effects are small beside what else moves outcomes, and a fine regression learns that noise; where they are large, a
coarse one misses them. Each rung of a ladder, coarse to fine, is fitted on the doubly robust scores of all folds but
one and judged on that one by

    loss = sum over treatments of (score - tau(x))^2

whose expectation is least for the true effect. The coarsest rung is chosen whose loss is at most one
standard error, of the paired differences clustered by unit, above the least (Breiman et al. 1984, section 3.4.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.uplift.base_learner import BaseLearner
from evaluation.uplift.nuisances import CrossFit
from evaluation.uplift.trial import Trial, folds


def coarsest(
    trial: Trial, fit: CrossFit, ladder: Sequence[BaseLearner], rng: np.random.Generator, *, count: int = 3
) -> BaseLearner:
    """The rung of `ladder`, coarse to fine, that effects are learned with; judged in `count` folds of the units."""
    if len(ladder) == 1:
        return ladder[0]
    scores, fold = fit.held_out.scores(trial), folds(trial.units, rng, count=count)
    loss = np.zeros((len(ladder), len(scores)))
    for number in range(count):
        inside = fold == number
        for rung, learner in enumerate(ladder):
            for score in scores.T:
                effect = learner.fit(trial.table[~inside], score[~inside])
                loss[rung, inside] += (score[inside] - effect.predict(trial.table[inside])) ** 2
    unit = np.unique(trial.units, return_inverse=True)[1]
    worse = loss - loss[int(loss.mean(axis=1).argmin())]
    by_unit = np.stack([np.bincount(unit, row) for row in worse])
    error = by_unit.std(axis=1, ddof=1) * np.sqrt(by_unit.shape[1])
    return ladder[int(np.argmax(by_unit.sum(axis=1) <= error))]
