"""The search for weights: Optuna over their logarithms, a batch of trials a sweep; resumable where a file is given.

Weights span orders of magnitude and matter by their ratios, so each is searched on a logarithmic scale; 0 stands for
everything below a thousandth of the weight's equal contribution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from value_model.formula.constraint import Constraint
from value_model.formula.evaluate import evaluate
from value_model.formula.value_policy import ValuePolicy
from value_model.tuning.constraint import slack
from value_model.tuning.evidence import Evidence
from value_model.tuning.scoring import PolicyScorer, Score

NEVER = -1e12  # what a weighting is worth whose metrics do not exist: nothing to divide by
SMALL = 1e-3  # of the equal-contribution weight: decides nothing any more


@dataclass(frozen=True)
class SearchConfig:
    """`storage` is an Optuna URL such as sqlite:///study.db; a study of the same name goes on where it stopped."""

    trials: int = 240
    batch: int = 16  # trials asked for at once
    polish: float = 0.5  # share of the trials that step from the best found so far
    steps: tuple[float, ...] = (0.08, 0.25, 0.6)  # sd of those steps, in log weight, in turn
    objective_z: float = 0.5  # standard errors taken off the objective: a lead must be sure, not lucky
    storage: str | None = None
    study: str = "weights"
    bar: bool = False  # drawn on the screen
    progress: Callable[[int], None] | None = None  # called after every batch with its number of trials


@dataclass(frozen=True)
class Ranges:
    """Where each weight is searched: low and high > 0."""

    low: Mapping[str, float]
    high: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.low)


def equal_contribution(policy: ValuePolicy, evidence: Evidence, names: Sequence[str]) -> dict[str, float]:
    """Weights under which switching off any one of `names` moves the values of a slate by as much as any other.

    Moves are standard deviations within slates; the scale is that of today's largest mover. Within bounds.
    """
    columns, mask = evidence.slates.columns, evidence.slates.mask
    weights = {w.name: w.value for w in policy.weights}
    for name in names:
        if weights[name] == policy.weight[name].neutral:
            weights[name] = policy.weight[name].high / 10
    moved = {n: _moved(policy, columns, mask, weights, n) for n in names}
    most = max(moved.values())
    for _ in range(3):
        for name in names:
            weight = policy.weight[name]
            if moved[name] > 0 and weight.term:
                weights[name] = float(np.clip(weights[name] * most / moved[name], weight.low, weight.high))
        moved = {n: _moved(policy, columns, mask, weights, n) for n in names}
    return {name: weights[name] for name in names}


def _moved(
    policy: ValuePolicy, columns: Mapping[str, np.ndarray], mask: np.ndarray, weights: Mapping[str, float], name: str
) -> float:
    full = evaluate(policy, columns, weights=weights, mask=mask)
    without = evaluate(policy, columns, weights={**weights, name: policy.weight[name].neutral}, mask=mask)
    moved = np.where(mask & np.isfinite(full) & np.isfinite(without), full - without, 0.0)
    count = mask.sum(axis=1, keepdims=True)
    centred = np.where(mask, moved - moved.sum(axis=1, keepdims=True) / np.maximum(count, 1), 0.0)
    return float(np.sqrt((centred**2).sum() / count.sum()))


def ranges(policy: ValuePolicy, start: Mapping[str, float]) -> Ranges:
    """The owners' bounds; from SMALL times the start where the low bound is 0."""
    for name in start:
        if policy.weight[name].high <= 0:
            raise ValueError(
                f"weight {name!r} has the high bound {policy.weight[name].high:g}; only weights above 0 "
                "are searched: turn its sign in the formula, or leave it out of `names`."
            )
    low = {
        n: max(policy.weight[n].low, SMALL * max(value, SMALL * policy.weight[n].high)) for n, value in start.items()
    }
    return Ranges(low, {name: policy.weight[name].high for name in start})


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


def robust(score: Score, *, z: float) -> np.ndarray:
    """[W]: the change's lower confidence bound."""
    return score.change - z * score.change_error
