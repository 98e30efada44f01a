"""Does a randomised log tell what other weights would change? 20 changes of the weights in each of 5 simulated markets.

Each market logs a Plackett-Luce ranking of the value formula with imperfect heads. The three estimators predict each
change's effect; the truth is the exact expectation of the same change on many fresh requests. Coverage counts
intervals, at 95 %, that hold the truth; errors are root mean squares over all changes, per unit of the truth's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.record import Measure, record
from benchmarks.tuning_market import Market
from value_model.tuning import Estimator, PredictConfig, Prediction, Scorer, predict

SEEDS, CHANGES, LOGGED, FRESH = range(5), 20, 6_000, 30_000
SPREAD = 0.7  # sd of a change, in log weight
METRICS = ("ctr", "orders", "gmv", "newcomer_exposure")
Row = tuple[float, float, float, float]  # value, low, high, truth


def changes(market: Market, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {w.name: w.value * np.exp(rng.normal(0, SPREAD, CHANGES)) for w in market.policy.weights}


def one_market(seed: int, rows: dict[tuple[str, Estimator], list[Row]]) -> None:
    market, rng = Market.draw(seed), np.random.default_rng([seed, 1])
    log, weightings = market.log(LOGGED, rng), changes(market, rng)
    truth = Scorer(market.truth(FRESH, rng), market.policy, estimator=Estimator.DIRECT).scores(weightings)
    for i in range(CHANGES):
        proposed = {name: float(w[i]) for name, w in weightings.items()}
        for estimator in Estimator:
            answer = predict(log, market.policy, proposed, rng=rng, estimator=estimator, config=PredictConfig())
            keep(rows, estimator, answer, {name: float(truth[name].change[i]) for name in METRICS})


def keep(
    rows: dict[tuple[str, Estimator], list[Row]], estimator: Estimator, answer: Prediction, truth: Mapping[str, float]
) -> None:
    for name in METRICS:
        found = answer[name].difference
        rows.setdefault((name, estimator), []).append((found.value, found.low, found.high, truth[name]))


def main() -> None:
    rows: dict[tuple[str, Estimator], list[Row]] = {}
    for seed in SEEDS:
        one_market(seed, rows)
    measures, error = [], {}
    for (name, estimator), found in rows.items():
        value, low, high, truth = np.array(found).T
        covered = (low <= truth) & (truth <= high)
        error[name, estimator] = float(np.sqrt(((value - truth) ** 2).mean() / (truth**2).mean()))
        bar = "0.9-0.99" if estimator is Estimator.DR else None
        measures.append(Measure(f"{name}: {estimator} intervals that cover", float(covered.mean()), "share", bar))
        measures.append(Measure(f"{name}: {estimator} error", error[name, estimator], "of the true effect"))
    for name in METRICS[:3]:
        ratio = error[name, Estimator.DR] / error[name, Estimator.IPS]
        measures.append(Measure(f"{name}: error of dr over ips", ratio, "ratio", "<= 1"))
    pooled = {e: np.sqrt(np.mean([error[name, e] ** 2 for name in METRICS[:3]])) for e in Estimator}
    both = float(pooled[Estimator.DR] / pooled[Estimator.IPS])
    measures.append(Measure("all outcomes: error of dr over ips", both, "ratio", "<= 1"))
    for estimator in Estimator:
        found = np.array([row for (n, e), part in rows.items() if e is estimator for row in part if n != METRICS[3]])
        covered = ((found[:, 1] <= found[:, 3]) & (found[:, 3] <= found[:, 2])).mean()
        bar = "0.9-0.99" if estimator is Estimator.DR else None
        measures.append(Measure(f"all outcomes: {estimator} intervals that cover", float(covered), "share", bar))
    data = f"simulated markets, {LOGGED} logged requests each, {CHANGES} changes of 5 weights, {len(SEEDS)} seeds"
    record("tuning_prediction", measures, data=data, seed=0)


if __name__ == "__main__":
    main()
