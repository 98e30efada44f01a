"""Does a neutral position cost accuracy, or buy truth?

On the simulated market the rankers predict the test period's clicks without its positions. The MMoE learned with a
position tower and predicts at a neutral position; LightGBM never saw positions, so that what the old ranking put on top
looks attractive to it; the pool is between them. Observed clicks reward that; the true P(click | examined) does not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from benchmarks.record import Measure, record
from jobs.config import RunConfig
from jobs.data import market
from jobs.prepare import prepare
from jobs.run import run_all
from jobs.train_ranker import held_out
from marketplace.simulator import Simulation

SEED, REPLICATES = 7, 200


def main() -> None:
    run = run_all(RunConfig(seed=SEED), Path("runs/benchmark"))
    prepared = prepare(run)
    test = prepared.period.test
    rows = prepared.rows(test)
    truth = attraction(market("demo", seed=SEED))[rows]
    clicked = prepared.data.labels["click"][rows]
    request = prepared.data.inputs.request[rows]
    models = {name: held_out(run, name)["ctr"] for name in ("network", "lightgbm", "pool")}
    measures = []
    for name, predicted in models.items():
        resampled = [auc_and_truth(predicted, clicked, truth, sample) for sample in samples(request)]
        value = auc_and_truth(predicted, clicked, truth, np.arange(len(request)))
        for place, measure in enumerate(("AUC of observed clicks", "rank correlation with true P(click | examined)")):
            low, high = np.quantile([pair[place] for pair in resampled], [0.025, 0.975])
            measures.append(Measure(f"{name}: {measure}", value[place], "", interval=(float(low), float(high))))
    record("position_neutral", measures, data="simulator, demo size, test period", seed=SEED)


def attraction(simulation: Simulation) -> np.ndarray:
    """float64 [N]: the true P(click | examined) of every logged impression, in the order of the slates."""
    items, shown = simulation.ranked.item, simulation.ranked.shown
    return simulation.click_probability(simulation.requests, np.where(shown, items, -1))[shown]


def samples(request: np.ndarray) -> list[np.ndarray]:
    """Rows of bootstrap samples of whole requests."""
    rng = np.random.default_rng(SEED)
    first = np.searchsorted(request, np.unique(request))
    ends = np.append(first[1:], len(request))
    groups = [np.arange(start, end) for start, end in zip(first, ends, strict=True)]
    return [
        np.concatenate([groups[place] for place in rng.integers(len(groups), size=len(groups))])
        for _ in range(REPLICATES)
    ]


def auc_and_truth(
    predicted: np.ndarray, clicked: np.ndarray, truth: np.ndarray, rows: np.ndarray
) -> tuple[float, float]:
    ranks = np.corrcoef(rankdata(predicted[rows]), rankdata(truth[rows]))[0, 1]
    return float(roc_auc_score(clicked[rows], predicted[rows])), float(ranks)


if __name__ == "__main__":
    main()
