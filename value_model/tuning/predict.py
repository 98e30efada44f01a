"""What other weights would change, from logged slates: paired differences, intervals, and what is not promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from evaluation.counterfactual.intervals import IntervalConfig
from value_model.formula.value_policy import ValuePolicy
from value_model.slate_policies.slate_policy import LOWEST
from value_model.tuning.credits import REQUEST, SHOWN, Estimator, credit_names, credits, expected_error
from value_model.tuning.evidence import Evidence
from value_model.tuning.experiment import ExperimentProposal, propose
from value_model.tuning.exposure import of_order, of_plackett_luce
from value_model.tuning.metrics import STANDARD, Change, Metric, change, known_metrics
from value_model.tuning.scoring import request_weights
from value_model.tuning.sweep import Sweep
from value_model.tuning.tiers import TierSlates
from value_model.tuning.trust import Trust, TrustConfig, out_of_bounds, trust


@dataclass(frozen=True)
class PredictConfig:
    metrics: Sequence[Metric] = STANDARD
    objective: str = "gmv"  # whose outcome must be frequent enough, and sizes the proposed experiment
    trust: TrustConfig = field(default_factory=TrustConfig)
    intervals: IntervalConfig = field(default_factory=lambda: IntervalConfig(replicates=400))
    temperature: float | None = None  # of a Plackett-Luce policy that serves both rankings; None = greedy
    requests_per_day: float | None = None  # for the proposed experiment's duration


@dataclass(frozen=True)
class Prediction:
    """`changes` by metric; where there are `problems` nothing is promised and `experiment` says what would tell."""

    changes: Mapping[str, Change]
    estimator: Estimator
    reason: str
    trust: Trust
    problems: tuple[str, ...]
    experiment: ExperimentProposal | None

    @property
    def promised(self) -> bool:
        return not self.problems

    def __getitem__(self, metric: str) -> Change:
        return self.changes[metric]


def predict(
    evidence: Evidence,
    policy: ValuePolicy,
    proposed: ValuePolicy | Mapping[str, float],
    *,
    rng: np.random.Generator,
    estimator: Estimator | None = None,
    config: PredictConfig | None = None,
) -> Prediction:
    """Of serving `proposed` (a policy, or some of the weights) instead of `policy`; estimator None = chosen."""
    config = config or PredictConfig()
    other = proposed if isinstance(proposed, ValuePolicy) else policy.with_weights(proposed)
    exposures = [exposure_under(p, evidence, temperature=config.temperature, rng=rng) for p in (policy, other)]
    objective = {m.name: m for m in config.metrics}[config.objective]
    trusted = trust(evidence, exposures[1], outcome=objective.numerator, config=config.trust)
    chosen, reason = choose_estimator(trusted) if estimator is None else (estimator, "asked for")
    now, new = (request_sums(evidence, exposure, chosen) for exposure in exposures)
    moved = exposures[1] - exposures[0]
    changes = {
        m.name: change(
            m,
            now,
            new,
            unit=evidence.unit,
            rng=rng,
            config=config.intervals,
            expected_error=expected_error(evidence, moved, m.numerator, chosen),
        )
        for m in known_metrics(config.metrics, tuple(now))
    }
    problems = (*out_of_bounds(other), *trusted.problems)
    effect = changes[objective.name].difference.value
    experiment = experiment_for(evidence, policy, other, effect=effect, config=config) if problems else None
    return Prediction(changes, chosen, reason, trusted, problems, experiment)


def experiment_for(
    evidence: Evidence, policy: ValuePolicy, other: ValuePolicy, *, effect: float, config: PredictConfig
) -> ExperimentProposal:
    """The A/B/C test of today's and the other weights, brought within their owners' bounds, for the objective."""
    objective = {m.name: m for m in config.metrics}[config.objective]
    return propose(
        _logged(evidence, objective),
        {name: w.value for name, w in policy.weight.items()},
        {name: float(np.clip(w.value, w.low, w.high)) for name, w in other.weight.items()},
        effect=effect,
        requests_per_day=config.requests_per_day,
    )


def choose_estimator(trusted: Trust) -> tuple[Estimator, str]:
    """DR where the log supports it, else the heads alone."""
    if trusted.weights is None or trusted.problems:
        return Estimator.DIRECT, f"the heads' own opinion, since {'; '.join(trusted.problems)}"
    effective = trusted.weights.effective
    return Estimator.DR, f"randomised log, {effective:.0f} effective requests: heads corrected by what happened"


def exposure_under(
    policy: ValuePolicy, evidence: Evidence, *, temperature: float | None, rng: np.random.Generator
) -> np.ndarray:
    """float64 [R, n]: greedy, or sampled for a Plackett-Luce policy, under each request's own weights."""
    slates = evidence.slates
    weights = {name: w[None] for name, w in request_weights(policy, slates.surface, evidence.segment).items()}
    if temperature is None:
        top = Sweep.of(policy, slates).top(weights, k=evidence.examination.shape[1])[0]
        return np.where(slates.mask, of_order(top, evidence.examination, width=slates.mask.shape[1]), 0.0)
    utility = Sweep(policy, slates.columns, mask=slates.mask).values(weights)[0] / temperature
    tiers = TierSlates.of(slates.mask, slates.tier)
    drawn = of_plackett_luce(tiers.split(utility, absent=LOWEST), tiers.examination(evidence.examination), rng=rng)
    return tiers.joined(drawn.probability)


def request_sums(evidence: Evidence, exposure: np.ndarray, estimator: Estimator) -> dict[str, np.ndarray]:
    """[R] each: what the ranking brings in every request, by name."""
    brought = np.einsum("rn,rnc->rc", exposure, credits(evidence, estimator))
    sums = dict(zip(credit_names(evidence), brought.T, strict=True))
    return sums | {SHOWN: evidence.shown.astype(np.float64), REQUEST: np.ones(len(evidence))}


def _logged(evidence: Evidence, objective: Metric) -> np.ndarray:
    outcome = evidence.feedback.get(objective.numerator)
    return np.ones(len(evidence)) if outcome is None else outcome.sum(axis=1)
