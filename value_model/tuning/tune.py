"""Weights that maximise a metric while others are held, and what they promise on requests that the search never saw.

The log is split by unit. One half is searched. A few finalists, from the safest to the boldest, are then tested on the
other half in that fixed order until one fails a constraint: the last that passed is chosen, so that the chance of a
finalist that breaks a constraint is held at the constraint's level (fixed-sequence testing, Angelopoulos et al. 2021,
Learn then Test, section 4). Since only the first half knows the objective of the finalists, the second half's interval
of the winner carries no winner's curse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from evaluation.counterfactual.intervals import PolicyEstimate
from value_model.formula.constraint import BoundKind, Constraint
from value_model.formula.value_policy import ValuePolicy
from value_model.tuning.constraint import holds, slack
from value_model.tuning.credits import Estimator, credit_names
from value_model.tuning.evidence import Evidence
from value_model.tuning.experiment import ExperimentProposal
from value_model.tuning.metrics import known_metrics
from value_model.tuning.predict import PredictConfig, Prediction, experiment_for, predict
from value_model.tuning.scoring import PolicyScorer, Scores, robust
from value_model.tuning.weight_ranges import SearchConfig, equal_contribution, ranges

NO_GAIN = "the objective is not expected to gain on fresh requests"


@dataclass(frozen=True)
class TuneConfig:
    """`safety`: standard errors that the finalists keep from every constraint on the search half."""

    search: SearchConfig = field(default_factory=SearchConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)
    safety: tuple[float, ...] = (6.0, 4.0, 3.0, 2.0, 1.0)


@dataclass(frozen=True)
class Goal:
    """What to maximise, and what must hold meanwhile: changes are bounded against `baseline`, None = today's policy."""

    maximise: str
    constraints: tuple[Constraint, ...] = ()
    baseline: ValuePolicy | None = None


@dataclass(frozen=True)
class Verdict:
    """The policy that was chosen, what it changes on the judging half, and why nothing is promised.

    Without `problems` every constraint is proven, and the objective is expected to gain unless today's weights break a
    constraint. With them the policy is today's, the prediction that of the weights that failed, and `experiment` the
    test that would tell, as it is where the gain is not proven; None where there were no such weights.
    """

    policy: ValuePolicy
    prediction: Prediction
    problems: tuple[str, ...] = ()
    experiment: ExperimentProposal | None = None
    against_baseline: Prediction | None = None

    @property
    def held(self) -> Prediction:
        """What constraints are judged by: the changes against the baseline."""
        return self.against_baseline or self.prediction


@dataclass(frozen=True)
class TuningResult:
    """A verdict, and what led to it: all weightings `tried` [T] of `start` with their `scores` on the search half."""

    goal: Goal
    start: ValuePolicy
    today: ValuePolicy
    verdict: Verdict
    tried: Mapping[str, np.ndarray]
    scores: Scores
    searched: Evidence
    judged: Evidence
    estimator: Estimator

    @property
    def policy(self) -> ValuePolicy:
        return self.verdict.policy

    @property
    def prediction(self) -> Prediction:
        return self.verdict.prediction

    @property
    def problems(self) -> tuple[str, ...]:
        return self.verdict.problems

    @property
    def promised(self) -> bool:
        """Every constraint is proven, and the objective is expected to gain, or pays for what is `repaired`."""
        return not self.problems

    @property
    def repaired(self) -> tuple[Constraint, ...]:
        """The constraints that today's weights break, and the promised ones keep."""
        return broken_today(self.goal, self.prediction) if self.promised else ()

    @property
    def gain(self) -> PolicyEstimate:
        """The objective's relative change, on requests that the search never saw."""
        return self.prediction[self.goal.maximise].relative

    @property
    def proven(self) -> bool:
        """Promised, and the interval of the objective's gain lies above 0: else today's weights are kept."""
        return self.promised and self.prediction[self.goal.maximise].difference.low > 0

    @property
    def advised(self) -> bool:
        """Whether today's weights should make way: for a proven gain, or for constraints that they break."""
        return self.proven or bool(self.repaired)

    @property
    def weights(self) -> dict[str, float]:
        return {name: self.policy.weight[name].value for name in self.tried}


def tune(
    evidence: Evidence,
    policy: ValuePolicy,
    goal: Goal,
    *,
    names: Sequence[str] | None = None,
    today: ValuePolicy | None = None,
    estimator: Estimator | None = None,
    seed: int = 0,
    config: TuneConfig | None = None,
) -> TuningResult:
    """Search `names` (None = every weight that is a term) and judge; same seed and storage = same split, resumed.

    The policy's global weights are searched, its overrides stay in force; changes are against `today`, None = `policy`.
    """
    config = config or TuneConfig()
    config = replace(config, predict=replace(config.predict, objective=goal.maximise))
    names = tuple(names or (w.name for w in policy.weights if w.term))
    check_goal(evidence, policy, goal, names, config)
    searched, judged = evidence.halves(np.random.default_rng(seed))
    using = estimator or (Estimator.DIRECT if evidence.exposure is None else Estimator.DR)
    today = today or policy
    scorer = PolicyScorer(searched, policy, estimator=using, metrics=config.predict.metrics, today=today)
    near = goal
    if goal.baseline is not None and goal.baseline.version != today.version:
        rng = np.random.default_rng([seed, 3])
        since = predict(searched, goal.baseline, today, rng=rng, estimator=using, config=config.predict)
        near = replace(goal, constraints=rebased(goal.constraints, since))
    tried, scores = explore(scorer, near, names, config=config, seed=seed)
    finalists = [policy.with_weights(weights) for weights in shortlist(scorer, tried, scores, near, config)]
    verdict = judge(judged, today, goal, finalists, estimator=using, seed=seed, config=config)
    return TuningResult(goal, policy, today, verdict, tried, scores, searched, judged, using)


def rebased(constraints: Sequence[Constraint], since: Prediction) -> tuple[Constraint, ...]:
    """The constraints as bounds against today, for the search alone: what was lost `since` is used up."""

    def moved(constraint: Constraint) -> Constraint:
        then, today = since[constraint.metric].now.value, since[constraint.metric].proposed.value
        if constraint.of is BoundKind.RELATIVE:
            return constraint.moved_to((1 + constraint.bound) * then / today - 1)
        return constraint.moved_to(constraint.bound + (then - today if constraint.of is BoundKind.CHANGE else 0.0))

    return tuple(map(moved, constraints))


def explore(
    scorer: PolicyScorer, goal: Goal, names: Sequence[str], *, config: TuneConfig, seed: int
) -> tuple[dict[str, np.ndarray], Scores]:
    """All weightings tried and their scores, from today's and the equal-contribution weights on."""
    from value_model.tuning.search import Search  # with Optuna, which checks and verdicts can do without

    now = {name: scorer.policy.weight[name].value for name in names}
    start = equal_contribution(scorer.policy, scorer.evidence, names)
    search = Search(
        scorer,
        ranges(scorer.policy, start),
        objective=goal.maximise,
        constraints=goal.constraints,
        config=config.search,
        seed=seed,
    )
    tried = search.run((now, start))
    return tried, scorer.scores(tried)


def check_goal(evidence: Evidence, policy: ValuePolicy, goal: Goal, names: Sequence[str], config: TuneConfig) -> None:
    """Raises ValueError for metrics and weights that do not exist or are not logged, and for an empty log."""
    known = [m.name for m in config.predict.metrics]
    metrics = [goal.maximise, *(c.metric for c in goal.constraints)]
    if unknown := [name for name in metrics if name not in known]:
        raise ValueError(f"goal speaks of {unknown}; metrics are {known}: add a Metric to PredictConfig.metrics.")
    told = [m.name for m in known_metrics(config.predict.metrics, credit_names(evidence))]
    if unknown := [name for name in metrics if name not in told]:
        raise ValueError(f"goal speaks of {unknown}; the log tells of {told}: log what it is made of, or leave it out.")
    if unknown := [name for name in names if name not in policy.weight]:
        raise ValueError(f"names hold {unknown}; policy {policy.name!r} has the weights {sorted(policy.weight)}.")
    if len(np.unique(evidence.unit)) < 4:
        raise ValueError(f"the log has {len(evidence)} requests of fewer than 4 units: nothing to split and judge.")


def shortlist(
    scorer: PolicyScorer, tried: Mapping[str, np.ndarray], scores: Scores, goal: Goal, config: TuneConfig
) -> list[dict[str, float]]:
    """From the safest to the boldest, each with more to gain than the one before.

    Only what beats today's weights, unless these break a constraint: then keeping it may cost. The best at every
    level of safety, and three stops on the way from today's weights to the safest of these.
    """
    gain = robust(scores[goal.maximise], z=config.search.objective_z)
    safe = safety(scores, goal)
    now = {name: np.array([scorer.policy.weight[name].value]) for name in tried}
    least = 0.0 if safety(scorer.scores(now), goal)[0] >= 0 else -np.inf
    rows = [int(np.where(safe >= z, gain, -np.inf).argmax()) for z in config.safety if (gain[safe >= z] > least).any()]
    if not rows:
        return []
    safest = {name: column[rows] for name, column in tried.items()}
    on_the_way = {name: _stops(scorer.policy.weight[name].value, column[0]) for name, column in safest.items()}
    finalists = {name: np.concatenate([on_the_way[name], column]) for name, column in safest.items()}
    scores = scorer.scores(finalists)
    gain, safe = robust(scores[goal.maximise], z=config.search.objective_z), safety(scores, goal)
    chosen: list[int] = []
    for row in np.argsort(-safe, kind="stable").tolist():
        if safe[row] >= min(config.safety) and gain[row] > max([least, *gain[chosen]]):
            chosen.append(row)
    return [{name: float(column[row]) for name, column in finalists.items()} for row in chosen]


def safety(scores: Scores, goal: Goal) -> np.ndarray:
    """[W]: standard errors between the nearest constraint's bound and the weighting; inf without constraints."""
    nearest = np.full(len(scores[goal.maximise].level), np.inf)
    for constraint in goal.constraints:
        left, with_one = (slack(constraint, scores[constraint.metric], z=z) for z in (0.0, 1.0))
        nearest = np.minimum(nearest, left / np.maximum(left - with_one, 1e-300))
    return nearest


def _stops(today: float, proposed: float) -> np.ndarray:
    """A quarter, half and three quarters of the way: by ratio where both are positive."""
    share = np.array([0.25, 0.5, 0.75])
    if today > 0 and proposed > 0:
        return today ** (1 - share) * proposed**share
    return (1 - share) * today + share * proposed


def judge(
    judged: Evidence,
    policy: ValuePolicy,
    goal: Goal,
    finalists: Sequence[ValuePolicy],
    *,
    estimator: Estimator,
    seed: int,
    config: TuneConfig,
) -> Verdict:
    """The last of the finalists before one fails; today's policy where the first does."""
    rng = np.random.default_rng([seed, 1])

    def ask(other: ValuePolicy) -> Verdict:
        prediction = predict(judged, policy, other, rng=rng, estimator=estimator, config=config.predict)
        if goal.baseline is None or goal.baseline.version == policy.version:
            return Verdict(other, prediction)
        against = predict(judged, goal.baseline, other, rng=rng, estimator=estimator, config=config.predict)
        return Verdict(other, prediction, against_baseline=against)

    def tested(verdict: Verdict, problems: tuple[str, ...] = ()) -> Verdict:
        effect = verdict.prediction[goal.maximise].difference.value
        test = experiment_for(judged, policy, verdict.policy, effect=effect, config=config.predict)
        return replace(verdict, policy=policy if problems else verdict.policy, problems=problems, experiment=test)

    chosen: Verdict | None = None
    for other in finalists:
        verdict = ask(other)
        failed = [
            f"not proven on fresh requests: {c}" for c in goal.constraints if not holds(c, verdict.held[c.metric])
        ]
        if failed or verdict.prediction.problems:
            if chosen is not None:
                break
            return tested(verdict, (*failed, *verdict.prediction.problems))
        chosen = verdict
    if chosen is None:
        return replace(ask(policy), problems=("no weights were found that beat today's and keep the constraints",))
    gain = chosen.prediction[goal.maximise].difference
    if not (gain.value > 0 or broken_today(goal, chosen.prediction)):
        return tested(chosen, (NO_GAIN,))
    return chosen if gain.low > 0 else tested(chosen)


def broken_today(goal: Goal, prediction: Prediction) -> tuple[Constraint, ...]:
    """The constraints that today's weights do not keep: to keep them may cost the objective something."""
    return tuple(
        c
        for c in goal.constraints
        if c.of is BoundKind.LEVEL and c.sign * (prediction[c.metric].now.value - c.bound) < 0
    )
