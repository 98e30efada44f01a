"""Is P(order | click) right where nobody clicked? Predicted over true cvr of the simulated market's rows.

Items that bait are clicked for what does not sell, and what a shopper likes is both clicked and ordered, so that what
is clicked is a biased sample. The product's network learns ctr and cvr by each `training.conversion`. Predictions are
calibrated on the validation period, as served, and compared with the truth on the rows of the test period, unclicked
and clicked. Intervals are over SEEDS of markets and fits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.record import record
from benchmarks.simulated_rows import SHAPE, TRAINING, SimulatedRows, labels_of, over_seeds
from marketplace.simulator import SimulatorConfig, simulate
from value_model.rankers.calibration import fit_calibration
from value_model.rankers.config import TrainingConfig

NAME = "unclicked"
SEEDS = range(5)
MARKET = SimulatorConfig(requests=3_000, users=600, items=300, merchants=40, click_offset=1.0, order_offset=1.5)
WAYS = {
    "default, plain ESMM": TrainingConfig(),
    "ESMM and clicked rows": TrainingConfig(conversion="esmm", clicked_weight=0.25),
    "ESCM2-IPS": TrainingConfig(conversion="escm2_ips"),
    "ESCM2-DR": TrainingConfig(conversion="escm2_dr"),
}


def ratios(
    rows: SimulatedRows, labels: dict[str, np.ndarray], way: TrainingConfig, *, seed: int
) -> tuple[float, float, float]:
    """Predicted over true cvr of unclicked and of clicked test rows, and their correlation over all."""
    period, quick = rows.period, {name: getattr(TRAINING, name) for name in ("epochs", "patience", "batch_requests")}
    train, later, test = (rows.part(one, labels) for one in (period.train, period.validation, period.test))
    ranker = rows.fitted(train, later, shape=SHAPE, training=replace(way, **quick), seed=seed)
    calibration = fit_calibration(ranker.predict(later.inputs), later)
    predicted = calibration(ranker.predict(test.inputs), test.inputs)["cvr"]
    truth = rows.truth().order[rows.rows(period.test)]
    clicked = test.labels["click"] > 0
    shares = (float(predicted[some].mean() / truth[some].mean()) for some in (~clicked, clicked))
    return *shares, float(np.corrcoef(predicted, truth)[0, 1])


def main() -> None:
    values: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    for seed in SEEDS:
        market = simulate(MARKET, np.random.default_rng(seed))
        rows, labels = SimulatedRows.of(market), labels_of(market, "click", "order")
        for name, way in WAYS.items():
            values[name].append(ratios(rows, labels, way, seed=seed))
            print(f"seed {seed}, {name}: " + ", ".join(f"{one:.3f}" for one in values[name][-1]), flush=True)
    measures = []
    for name, row in values.items():
        unclicked, clicked, correlation = np.array(row).T
        bar = "0.95-1.05" if name.startswith("default") else None
        measures.append(over_seeds(f"{name}: predicted / true cvr, unclicked rows", unclicked, bar))
        measures.append(over_seeds(f"{name}: predicted / true cvr, clicked rows", clicked))
        measures.append(over_seeds(f"{name}: correlation with true cvr", correlation))
    record(NAME, measures, data="simulated market, test period", seed=SEEDS.start)


if __name__ == "__main__":
    main()
