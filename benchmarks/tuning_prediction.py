"""Does a randomised log tell what other weights would change? 20 changes in each of 30 simulated markets.

Each market logs a Plackett-Luce ranking of the value formula with imperfect heads. The three estimators predict each
change's effect; the truth is the exact expectation of the same change on many fresh requests. Coverage counts
intervals, at 95 %, that hold the truth; errors are root mean squares over all changes, per unit of the truth's. The
changes of one market share its log and err together, so that ratios of errors have intervals over markets.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from itertools import product

import numpy as np
from tqdm import tqdm

from benchmarks.record import Measure, record
from benchmarks.tuning_market import TuningMarket
from evaluation.bootstrap import resample, totals
from value_model.tuning import Estimator, PolicyScorer, PredictConfig, predict

SEEDS, FIRST, CHANGES, LOGGED, FRESH = range(30), 5, 20, 6_000, 60_000
SPREAD = 0.7  # sd of a change, in log weight
OUTCOMES = ("ctr", "orders", "gmv")
METRICS = (*OUTCOMES, "newcomer_exposure")
ESTIMATORS = tuple(Estimator)
VALUE, LOW, HIGH = range(3)


def changes(market: TuningMarket, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {w.name: w.value * np.exp(rng.normal(0, SPREAD, CHANGES)) for w in market.policy.weights}


def one_market(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(answers [estimators, metrics, changes, value | low | high], truth [metrics, changes])."""
    market, rng = TuningMarket.draw(seed), np.random.default_rng([seed, 1])
    log, weightings = market.log(LOGGED, rng), changes(market, rng)
    truth = PolicyScorer(market.truth(FRESH, rng), market.policy, estimator=Estimator.DIRECT).scores(weightings)
    answers = np.empty((len(ESTIMATORS), len(METRICS), CHANGES, 3))
    for (e, estimator), i in product(enumerate(ESTIMATORS), range(CHANGES)):
        proposed = {name: float(w[i]) for name, w in weightings.items()}
        answer = predict(log, market.policy, proposed, rng=rng, estimator=estimator, config=PredictConfig())
        for m, name in enumerate(METRICS):
            difference = answer[name].difference
            answers[e, m, i] = difference.value, difference.low, difference.high
    return answers, np.stack([truth[name].change for name in METRICS])


def covered(answers: np.ndarray, truth: np.ndarray) -> float:
    return float(((answers[..., LOW] <= truth) & (truth <= answers[..., HIGH])).mean())


def squares(answers: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """[markets]: mean squared error of [markets, changes], per unit of the truth's over all."""
    return ((answers[..., VALUE] - truth) ** 2).mean(axis=1) / (truth**2).mean()


def of_one(name: str, estimator: Estimator, answers: np.ndarray, truth: np.ndarray) -> list[Measure]:
    bar = "0.9-0.99" if estimator is Estimator.DR else None
    error = float(np.sqrt(squares(answers, truth).mean()))
    return [
        Measure(f"{name}: {estimator} intervals that cover", covered(answers, truth), "share", bar),
        Measure(f"{name}: {estimator} error", error, "of the true effect"),
    ]


def ratio(name: str, dr: np.ndarray, ips: np.ndarray) -> list[Measure]:
    """Errors of dr over ips from their squares [markets], with the bootstrap's interval over markets."""
    both = np.column_stack([dr, ips])
    counts = resample(len(both), np.random.default_rng(0), replicates=2_000)
    drawn = np.sqrt(np.divide(*totals(both, counts).T))
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    first = float(np.sqrt(dr[:FIRST].mean() / ips[:FIRST].mean()))
    return [
        Measure(f"{name}: error of dr over ips", float(np.sqrt(dr.mean() / ips.mean())), "ratio", "<= 1", (low, high)),
        Measure(f"{name}: error of dr over ips, first {FIRST} markets", first, "ratio"),
    ]


def main() -> None:
    with ProcessPoolExecutor() as pool:
        markets = list(tqdm(pool.map(one_market, SEEDS), total=len(SEEDS), desc="markets"))
    answers, truth = (np.stack(part) for part in zip(*markets, strict=True))
    measures, error = [], {}
    for (e, estimator), (m, name) in product(enumerate(ESTIMATORS), enumerate(METRICS)):
        measures += of_one(name, estimator, answers[:, e, m], truth[:, m])
        error[estimator, name] = squares(answers[:, e, m], truth[:, m])
    for name in OUTCOMES:
        measures += ratio(name, error[Estimator.DR, name], error[Estimator.IPS, name])
    dr, ips = (sum(error[estimator, name] for name in OUTCOMES) for estimator in (Estimator.DR, Estimator.IPS))
    measures += ratio("all outcomes", dr, ips)
    for e, estimator in enumerate(ESTIMATORS):
        bar = "0.9-0.99" if estimator is Estimator.DR else None
        share = covered(answers[:, e, : len(OUTCOMES)], truth[:, : len(OUTCOMES)])
        measures.append(Measure(f"all outcomes: {estimator} intervals that cover", share, "share", bar))
    data = f"simulated markets, {LOGGED} logged requests each, {CHANGES} changes of 5 weights, {len(SEEDS)} seeds"
    record("tuning_prediction", measures, data=data, seed=0)


if __name__ == "__main__":
    main()
