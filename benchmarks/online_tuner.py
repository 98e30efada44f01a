"""How much traffic does the online tuner need, and does it keep its guardrail while it learns?

Simulated markets. The tuner serves every request with weights drawn by Thompson sampling from 97 weightings spread over
a factor of 8 around today's, and learns from the randomised slates. Its leader's true GMV (exact expectation on fresh
requests) is held against the best that the truth allows under the guardrail: CTR at most 3 % down. The traffic to beat
is what an A/B/C test of three weightings (today's, the best, half way) needs to tell today's from the best with 80 %
power at 5 %, Bonferroni for the pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.record import Measure, record
from benchmarks.tuning_market import TuningMarket
from value_model.tuning import (
    BoundKind,
    Constraint,
    Estimator,
    Goal,
    OnlineTuner,
    PolicyScorer,
    SearchConfig,
    TuneConfig,
    spread_arms,
)
from value_model.tuning.constraint import slack
from value_model.tuning.experiment import requests_per_arm
from value_model.tuning.tune import explore

SEEDS, BATCH, FRESH, ARMS, FACTOR, TRIALS = range(5), 3_000, 6_000, 97, 8.0, 128
MARGIN = -0.03
GOAL = Goal("gmv", (Constraint("ctr", at_least=MARGIN, of=BoundKind.RELATIVE),))


@dataclass(frozen=True)
class OnlineRun:
    needed: float  # requests of the A/B/C test
    reached: float  # requests after which the leader stays at 95 % of the best; inf = not within `needed`
    share: float  # the leader's GMV over the best, at the end
    worst_ctr: float  # true relative change of CTR, worst batch
    gain: float  # true GMV of all served requests over today's, relative
    remaining: float  # what the tuner itself says may be left


def best(truth: PolicyScorer) -> tuple[float, float]:
    """(GMV of the best weights that the truth allows, of today's)."""
    config = TuneConfig(search=SearchConfig(trials=TRIALS, objective_z=0.0))
    goal = Goal("gmv", (Constraint("ctr", at_least=MARGIN, of=BoundKind.RELATIVE, confidence=0.5),))
    _, scores = explore(truth, goal, tuple(w.name for w in truth.policy.weights), config=config, seed=0)
    held = slack(goal.constraints[0], scores["ctr"], z=0) >= 0
    return float(scores["gmv"].level[held].max()), float(scores["gmv"].level[0])


def one_market(seed: int) -> OnlineRun:
    market, rng = TuningMarket.draw(seed), np.random.default_rng([seed, 3])
    truth = PolicyScorer(market.truth(FRESH, rng), market.policy, estimator=Estimator.DIRECT)
    names = tuple(weight.name for weight in market.policy.weights)
    arms = spread_arms(market.policy, names, count=ARMS, factor=FACTOR, rng=rng)
    true, (top, today) = truth.scores(arms), best(truth)
    tuner = OnlineTuner(market.policy, arms, GOAL, rng=rng)
    served: list[np.ndarray] = []

    def serve(requests: int) -> dict[str, np.ndarray]:
        served.append(tuner.draw(requests))
        return {name: column[served[-1]] for name, column in arms.items()}

    needed = np.inf
    shares: list[float] = []
    while tuner.requests < needed:
        log = market.log(BATCH, rng, serve=serve)
        if not shares:
            variance = float(log.feedback["gmv"].sum(axis=1).var())
            needed = 3 * requests_per_arm(variance, top - today, arms=3)
        tuner.learn(log)
        shares.append(float(true["gmv"].level[tuner.leader()]) / top)
    late = np.flatnonzero(np.array(shares) < 0.95)
    after = 1 + (int(late[-1]) + 1 if len(late) else 0)
    return OnlineRun(
        needed,
        after * BATCH if after <= len(shares) else np.inf,
        float(shares[-1]),
        float(min(true["ctr"].relative[arm].mean() for arm in served)),
        float(true["gmv"].relative[np.concatenate(served)].mean()),
        tuner.value_remaining(),
    )


def main() -> None:
    runs = []
    for seed in SEEDS:
        runs.append(one_market(seed))
        print(seed, runs[-1], flush=True)
    within = [run.reached <= run.needed for run in runs]
    reached = [run.reached / run.needed for run in runs]
    measures = [
        Measure("traffic of an A/B/C test: mean", float(np.mean([r.needed for r in runs])), "requests"),
        Measure("markets where the tuner reached 95 % within it", float(np.mean(within)), "share", ">= 1"),
        Measure("traffic to 95 % of the best: median share of the A/B/C test's", float(np.median(reached)), "share"),
        Measure("leader's GMV over the best, at the end: mean", float(np.mean([r.share for r in runs])), "ratio"),
        Measure("worst true CTR of a batch against today's", min(r.worst_ctr for r in runs), "relative", ">= -0.03"),
        Measure("true GMV gained while learning: mean", float(np.mean([r.gain for r in runs])), "relative"),
        Measure("what the tuner says may be left: mean", float(np.mean([r.remaining for r in runs])), "share"),
    ]
    data = f"simulated markets, {len(runs)} seeds, batches of {BATCH} requests, {ARMS} weightings"
    record("online_tuner", measures, data=data, seed=0)


if __name__ == "__main__":
    main()
