"""The search for weights: Optuna over their logarithms, a batch of trials a sweep; resumable where a file is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from value_model.formula.constraint import Constraint
from value_model.tuning.constraint import slack
from value_model.tuning.scoring import PolicyScorer, robust
from value_model.tuning.weight_ranges import Ranges, SearchConfig

NEVER = -1e12  # what a weighting is worth whose metrics do not exist: nothing to divide by


class Search:
    """One study: maximise an objective, constraints held with confidence, on one set of requests.

    Trials are asked for in memory and kept a batch at a time: a file that is told of every parameter takes far longer
    than the scoring.
    """

    def __init__(
        self,
        scorer: PolicyScorer,
        where: Ranges,
        *,
        objective: str,
        constraints: Sequence[Constraint],
        config: SearchConfig,
        seed: int,
    ) -> None:
        self._scorer, self._where, self._config = scorer, where, config
        self._objective, self._constraints = objective, tuple(constraints)
        self._rng = np.random.default_rng(seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._kept = None
        if config.storage is not None:
            self._kept = optuna.create_study(
                storage=config.storage, study_name=config.study, direction="maximize", load_if_exists=True
            )
        before = [] if self._kept is None else self._kept.get_trials(states=(TrialState.COMPLETE,))
        startup = 4 * len(where.names) + 8
        sampler = TPESampler(seed=seed + len(before), multivariate=True, n_startup_trials=startup)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.study.add_trials(before)

    @property
    def done(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def run(self, starts: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
        """All trials' weights, [T] each, `starts` first; goes on until `trials` are complete."""
        done = len(self.done)
        if not done:
            for start in starts:
                self.study.enqueue_trial(self._within(start))
        self._rng = np.random.default_rng([int(self._rng.integers(2**32)), done])
        with tqdm(total=self._config.trials, initial=done, disable=not self._config.bar, desc="weights") as bar:
            while (left := self._config.trials - done) > 0:
                tried = self._batch(
                    min(self._config.batch, left), polishing=done > (1 - self._config.polish) * self._config.trials
                )
                done += tried
                bar.update(tried)
                if self._config.progress is not None:
                    self._config.progress(tried)
        return {name: np.array([trial.params[name] for trial in self.done]) for name in self._where.names}

    def _batch(self, size: int, *, polishing: bool) -> int:
        if polishing:
            for row in self._steps(size):
                self.study.enqueue_trial(row)
        trials = [self.study.ask() for _ in range(size)]
        weights = {
            name: np.array(
                [t.suggest_float(name, self._where.low[name], self._where.high[name], log=True) for t in trials]
            )
            for name in self._where.names
        }
        scores = self._scorer.scores(weights)
        goal = np.nan_to_num(robust(scores[self._objective], z=self._config.objective_z), nan=NEVER)
        slacks = [np.nan_to_num(slack(c, scores[c.metric]), nan=NEVER) for c in self._constraints]
        for i, trial in enumerate(trials):
            for constraint, left in zip(self._constraints, slacks, strict=True):
                trial.set_constraint(str(constraint), -float(left[i]))
            self.study.tell(trial, float(goal[i]))
        if self._kept is not None:
            self._kept.add_trials(self.done[-size:])
        return size

    def _steps(self, size: int) -> list[dict[str, float]]:
        """Log-normal steps from the best feasible trial, or the least infeasible."""
        best = max(self.done, key=lambda t: (-max([0.0, *t.constraints.values()]), t.value))
        width = np.resize(self._config.steps, (size, 1))
        drawn = np.exp(width * self._rng.normal(size=(size, len(self._where.names))))
        steps = [dict(zip(self._where.names, row, strict=True)) for row in drawn.tolist()]
        return [self._within({name: best.params[name] * s for name, s in step.items()}) for step in steps]

    def _within(self, weights: Mapping[str, float]) -> dict[str, float]:
        return {n: float(np.clip(weights[n], self._where.low[n], self._where.high[n])) for n in self._where.names}
