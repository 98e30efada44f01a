"""Predictions quick enough for a slider: as `value_model.tuning.predict`, with all that does not change kept ready."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from desk.kept_draws import KeptDraws
from value_model.formula.value_policy import ValuePolicy
from value_model.tuning import STANDARD, Estimator, Evidence, PredictConfig, Prediction, Sweep
from value_model.tuning.credits import REQUEST, SHOWN, credit_names, credits, expected_error
from value_model.tuning.experiment import ExperimentProposal
from value_model.tuning.exposure import of_order
from value_model.tuning.influence import Influence, influence_of_weights
from value_model.tuning.metrics import OBJECTIVES, Metric, known_metrics
from value_model.tuning.predict import choose_estimator, experiment_for
from value_model.tuning.scoring import request_weights
from value_model.tuning.trust import out_of_bounds, trust


class PolicyOutcomes:
    """One set of requests under `policy`, ready to be asked about others of the same formula."""

    def __init__(self, evidence: Evidence, policy: ValuePolicy, *, config: PredictConfig, seed: int) -> None:
        self.evidence, self.policy, self._config = evidence, policy, config
        self._draws = KeptDraws(evidence.unit, config=config.intervals, seed=seed)
        self._sweep = Sweep.of(policy, evidence.slates)
        self._credits: dict[Estimator, np.ndarray] = {}
        self._before: dict[Estimator, dict[str, np.ndarray]] = {}
        self._names = credit_names(evidence)

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        return known_metrics(self._config.metrics, (*self._names, SHOWN, REQUEST))

    @cached_property
    def objective(self) -> Metric | None:
        """What the requests are mainly judged by; None where no head speaks of an outcome."""
        known = {metric.name: metric for metric in self.metrics}
        return next((known[name] for name in (self._config.objective, *OBJECTIVES) if name in known), None)

    @cached_property
    def top(self) -> np.ndarray:
        """int [R, k]: the order of every request today."""
        return self.order(self.policy)

    @cached_property
    def _exposure(self) -> np.ndarray:
        return self._exposure_of(self.top)

    def order(self, policy: ValuePolicy) -> np.ndarray:
        """int [R, k]: the items of every shown place, best first."""
        slates = self.evidence.slates
        weights = request_weights(policy, slates.surface, self.evidence.segment)
        same = policy.expressions == self.policy.expressions and policy.stand_ins == self.policy.stand_ins
        sweep = self._sweep if same else Sweep.of(policy, slates)
        return sweep.top({n: w[None] for n, w in weights.items()}, k=self.evidence.examination.shape[1])[0]

    def prediction(self, policy: ValuePolicy, top: np.ndarray) -> Prediction:
        """Of serving `policy`, whose order is `top`; the same question has the same answer."""
        exposure = self._exposure_of(top)
        outcome = self.objective.numerator if self.objective else SHOWN
        trusted = trust(self.evidence, exposure, outcome=outcome, config=self._config.trust)
        estimator, reason = choose_estimator(trusted)
        now, new = self._now(estimator), self._sums(exposure, estimator)
        moved = exposure - self._exposure
        errors = {m.name: expected_error(self.evidence, moved, m.numerator, estimator) for m in self.metrics}
        changes = self._draws.changes(self.metrics, now, new, expected_errors=errors)
        problems = (*out_of_bounds(policy), *trusted.problems)
        effect = changes[self.objective.name].difference.value if self.objective else 0.0
        experiment = self._experiment(policy, effect) if problems else None
        return Prediction(changes, estimator, reason, trusted, problems, experiment)

    def influence(self, policy: ValuePolicy, *, k: int) -> tuple[Influence, ...]:
        """How much each weight of `policy` decides among the first k places."""
        slates = self.evidence.slates
        weights = request_weights(policy, slates.surface, self.evidence.segment)
        lifted = {name: weight[:, None] for name, weight in weights.items()}
        return influence_of_weights(policy, slates.columns, k=k, weights=lifted, mask=slates.mask)

    def _exposure_of(self, top: np.ndarray) -> np.ndarray:
        mask = self.evidence.slates.mask
        return np.where(mask, of_order(top, self.evidence.examination, width=mask.shape[1]), 0.0)

    def _now(self, estimator: Estimator) -> dict[str, np.ndarray]:
        if estimator not in self._before:
            self._before[estimator] = self._sums(self._exposure, estimator)
        return self._before[estimator]

    def _sums(self, exposure: np.ndarray, estimator: Estimator) -> dict[str, np.ndarray]:
        if estimator not in self._credits:
            self._credits[estimator] = credits(self.evidence, estimator)
        brought = np.matmul(exposure[:, None, :], self._credits[estimator])[:, 0]
        sums = dict(zip(self._names, brought.T, strict=True))
        return sums | {SHOWN: self.evidence.shown.astype(np.float64), REQUEST: np.ones(len(self.evidence))}

    def _experiment(self, policy: ValuePolicy, effect: float) -> ExperimentProposal | None:
        if self.objective is None:
            return None
        config = replace(self._config, objective=self.objective.name)
        return experiment_for(self.evidence, self.policy, policy, effect=effect, config=config)


def config_of(requests_per_day: float | None) -> PredictConfig:
    """The standard metrics, with an experiment's duration where the traffic is known."""
    return PredictConfig(metrics=STANDARD, requests_per_day=requests_per_day)
