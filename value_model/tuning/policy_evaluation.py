"""Policy evaluation from the log: `predict` everywhere, by surface and by each estimator, beside what happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from evaluation.counterfactual.intervals import PolicyEstimate, asymptotic
from evaluation.counterfactual.terms import Terms
from value_model.formula.value_policy import ValuePolicy
from value_model.tuning.credits import EXAMINED, REQUEST, SHOWN, Estimator
from value_model.tuning.evidence import Evidence
from value_model.tuning.metrics import OBJECTIVES, Metric, known_metrics, ratio
from value_model.tuning.predict import PredictConfig, Prediction, predict

EVERYWHERE = "everywhere"


@dataclass(frozen=True)
class PartEvaluation:
    """A surface's requests, or all: `logged` = the level of each metric as it happened, no estimate."""

    requests: int
    logged: Mapping[str, PolicyEstimate]
    prediction: Prediction


@dataclass(frozen=True)
class PolicyEvaluation:
    """`proposed` against `in_force`: `parts` by surface, EVERYWHERE first; `estimates` everywhere by each estimator."""

    in_force: ValuePolicy
    proposed: ValuePolicy
    objective: str
    parts: Mapping[str, PartEvaluation]
    estimates: Mapping[Estimator, Prediction]

    @property
    def prediction(self) -> Prediction:
        return self.parts[EVERYWHERE].prediction


def evaluate_policy(
    evidence: Evidence,
    in_force: ValuePolicy,
    proposed: ValuePolicy,
    *,
    rng: np.random.Generator,
    config: PredictConfig | None = None,
) -> PolicyEvaluation:
    """Both policies as they rank, on the same requests; raises ValueError where the log tells of no outcome.

    A surface is answered by the estimator that its own requests support.
    """
    config = config or PredictConfig()
    known = [m.name for m in known_metrics(config.metrics, tuple(logged_sums(evidence)))]
    objective = next((name for name in OBJECTIVES if name in known), None)
    if objective is None:
        raise ValueError("the log holds no prediction of clicks, orders or sales: no policy can be judged by it.")
    config = replace(config, objective=objective)
    surfaces = {name: evidence.take(evidence.slates.surface == name) for name in evidence.slates.surfaces}
    estimators = (Estimator.DIRECT,) if evidence.exposure is None else tuple(Estimator)
    return PolicyEvaluation(
        in_force,
        proposed,
        objective,
        {
            name: PartEvaluation(
                len(part), logged_levels(part, config), predict(part, in_force, proposed, rng=rng, config=config)
            )
            for name, part in ({EVERYWHERE: evidence} | surfaces).items()
        },
        {e: predict(evidence, in_force, proposed, rng=rng, estimator=e, config=config) for e in estimators},
    )


def logged_sums(evidence: Evidence) -> dict[str, np.ndarray]:
    """[R] each: what happened in every request, by name; a trait counts for each impression that was examined."""
    outcomes = {name: np.where(evidence.position > 0, f, 0.0).sum(axis=1) for name, f in evidence.feedback.items()}
    traits = {name: (evidence.looked * trait).sum(axis=1) for name, trait in evidence.traits.items()}
    places = {EXAMINED: evidence.looked.sum(axis=1), SHOWN: evidence.shown.astype(np.float64)}
    return outcomes | traits | places | {REQUEST: np.ones(len(evidence))}


def logged_levels(evidence: Evidence, config: PredictConfig) -> dict[str, PolicyEstimate]:
    """Every metric's level as it happened, with its normal interval over units."""
    sums = logged_sums(evidence)
    return {m.name: _level(m, sums, evidence.unit, config) for m in known_metrics(config.metrics, tuple(sums))}


def _level(metric: Metric, sums: Mapping[str, np.ndarray], unit: np.ndarray, config: PredictConfig) -> PolicyEstimate:
    value, moved = ratio(metric, sums)
    by = np.unique(unit, return_inverse=True)[1]
    return asymptotic(Terms(value + moved).by_unit(by, int(by.max()) + 1), level=config.intervals.level)
