"""Are the weights that `tune` chooses near the best that the truth allows, and do their constraints truly hold?

60 simulated markets. Each logs a randomised ranking; `tune` maximises GMV with CTR not more than 3 % down and newcomers
at 8 % of what is examined, both at 95 %, from that log alone. The truth is the exact expectation on many fresh
requests; the best constrained weights are found by searching it with the same search and no margins.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from benchmarks.record import Measure, record
from benchmarks.tuning_market import TuningMarket
from value_model.tuning import (
    BoundKind,
    Constraint,
    Estimator,
    Evidence,
    Goal,
    PolicyScorer,
    SearchConfig,
    TuneConfig,
    TuningResult,
    tune,
)
from value_model.tuning.constraint import slack
from value_model.tuning.tune import explore

SEEDS, LOGGED, FRESH = range(60), 12_000, 20_000
TRIALS, TRUE_TRIALS = 240, 240
GOAL = Goal(
    "gmv",
    (
        Constraint("ctr", at_least=-0.03, of=BoundKind.RELATIVE),
        Constraint("newcomer_exposure", at_least=0.08),
    ),
)


@dataclass(frozen=True)
class Outcome:
    share_of_best: float
    held: tuple[bool, ...]
    gain: float  # true relative change of GMV
    promised: bool
    proven: bool  # promised, and its interval of GMV's change lies above 0
    covered: bool  # the promised interval of GMV's change holds the truth


def best(truth: PolicyScorer) -> float:
    """GMV per request of the best weights of the truth under the constraints."""
    config = TuneConfig(search=SearchConfig(trials=TRUE_TRIALS, objective_z=0.0))
    goal = Goal(GOAL.maximise, tuple(replace(c, confidence=0.5) for c in GOAL.constraints))
    names = tuple(weight.name for weight in truth.policy.weights)
    _, scores = explore(truth, goal, names, config=config, seed=0)
    held = np.all([slack(c, scores[c.metric], z=0) >= 0 for c in goal.constraints], axis=0)
    return float(scores["gmv"].level[held].max())


def one_market(seed: int) -> Outcome:
    market, rng = TuningMarket.draw(seed), np.random.default_rng([seed, 2])
    tuned = tune(market.log(LOGGED, rng), market.policy, GOAL, config=TuneConfig(search=SearchConfig(trials=TRIALS)))
    return against_truth(tuned, market, market.truth(FRESH, rng))


def against_truth(tuned: TuningResult, market: TuningMarket, fresh: Evidence) -> Outcome:
    truth = PolicyScorer(fresh, market.policy, estimator=Estimator.DIRECT)
    scores = truth.scores({name: np.array([w]) for name, w in tuned.weights.items()})
    promised, change = tuned.prediction["gmv"].difference, float(scores["gmv"].change[0])
    return Outcome(
        float(scores["gmv"].level[0]) / best(truth),
        tuple(bool(slack(c, scores[c.metric], z=0)[0] >= 0) for c in GOAL.constraints),
        float(scores["gmv"].relative[0]),
        tuned.promised,
        tuned.proven,
        promised.low <= change <= promised.high,
    )


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def main() -> None:
    with ProcessPoolExecutor() as pool:
        report(list(tqdm(pool.map(one_market, SEEDS), total=len(SEEDS), desc="markets")))


def report(outcomes: Sequence[Outcome]) -> None:
    """Record the figures of all markets."""
    kept = [outcome for outcome in outcomes if outcome.promised]
    claimed = [outcome for outcome in kept if outcome.proven]
    reached, least = mean([o.share_of_best for o in kept]), min(o.share_of_best for o in kept)
    measures = [
        Measure("markets where weights were promised", len(kept) / len(outcomes), "share"),
        Measure("GMV of the chosen over the best: mean", reached, "ratio", ">= 0.95"),
        Measure("GMV of the chosen over the best: least", least, "ratio"),
        Measure("every constraint truly held", mean([all(o.held) for o in kept]), "share", ">= 0.95"),
        Measure("true GMV gained over today's weights: mean", mean([o.gain for o in kept]), "relative"),
        Measure("promised interval of GMV's change holds the truth", mean([o.covered for o in kept]), "share"),
        Measure("markets with a promise that claim a proven gain", mean([o.proven for o in kept]), "share"),
        Measure(
            "GMV truly gains where a proven gain is claimed", mean([o.gain > 0 for o in claimed]), "share", ">= 0.95"
        ),
        Measure("GMV over the best, today's where refused: mean", mean([o.share_of_best for o in outcomes]), "ratio"),
    ]
    data = f"simulated markets, {len(outcomes)} seeds, {LOGGED} logged requests each"
    record("tuning_choice", measures, data=data, seed=0)


if __name__ == "__main__":
    main()
