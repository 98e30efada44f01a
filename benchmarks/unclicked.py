"""Is P(order | click) right where nobody clicked? Predicted over true cvr of the simulated market's rows.

Items that bait are clicked for what does not sell, and what a shopper likes is both clicked and ordered, so that what
is clicked is a biased sample. The product's network learns ctr and cvr by each `training.conversion`. Predictions are
calibrated on the validation period, as served, and compared with the truth on the rows of the test period, unclicked
and clicked. What a log can tell at all is told by the true cvr of clicked rows, each weighed by (1 - p) / p to stand
for unclicked ones: right where p is P(click) by all that made the shopper click; where p is by what is known, the
hidden intent of a request is left, which makes it click and order alike. Intervals are over SEEDS of markets and fits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.record import record
from benchmarks.simulated_rows import SHAPE, TRAINING, SimulatedRows, labels_of, over_seeds
from marketplace.simulator import SimulatorConfig, simulate
from marketplace.simulator.examination import examination_curve
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


MEASURES = {
    "predicted / true cvr, unclicked rows": "0.95-1.05",
    "predicted / true cvr, clicked rows": None,
    "correlation with true cvr": None,
    "true cvr of clicked rows weighed by its ctr / of unclicked rows": None,
    "true cvr of clicked rows weighed by true P(click) / of unclicked rows": None,
}


def ratios(rows: SimulatedRows, labels: dict[str, np.ndarray], way: TrainingConfig, *, seed: int) -> list[float]:
    """The MEASURES of the test rows."""
    period, quick = rows.period, {name: getattr(TRAINING, name) for name in ("epochs", "patience", "batch_requests")}
    train, later, test = (rows.part(one, labels) for one in (period.train, period.validation, period.test))
    ranker = rows.fitted(train, later, shape=SHAPE, training=replace(way, **quick), seed=seed)
    calibration = fit_calibration(ranker.predict(later.inputs), later)
    heads = calibration(ranker.predict(test.inputs), test.inputs)
    predicted, truth = heads["cvr"], rows.truth().order[rows.rows(period.test)]
    clicked, click = test.labels["click"] > 0, true_click(rows)[rows.rows(period.test)]
    shares = [predicted[some].mean() / truth[some].mean() for some in (~clicked, clicked)]
    weights = [(1 - p[clicked]) / p[clicked] for p in (heads["ctr"], click)]
    carried = [np.average(truth[clicked], weights=weight) / truth[~clicked].mean() for weight in weights]
    return [*shares, np.corrcoef(predicted, truth)[0, 1], *carried]


def true_click(rows: SimulatedRows) -> np.ndarray:
    """P(click), float64 [N]: examined where it was shown, and attractive."""
    surface = rows.simulation.requests.surface[rows.inputs.request]
    examined = examination_curve(positions=int(rows.position.max()), power=MARKET.examination_power)
    return rows.truth().attraction * examined[surface, rows.position - 1]


def main() -> None:
    values: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for seed in SEEDS:
        market = simulate(MARKET, np.random.default_rng(seed))
        rows, labels = SimulatedRows.of(market), labels_of(market, "click", "order")
        for name, way in WAYS.items():
            values[name].append(ratios(rows, labels, way, seed=seed))
            print(f"seed {seed}, {name}: " + ", ".join(f"{one:.3f}" for one in values[name][-1]), flush=True)
    measures = []
    for name, row in values.items():
        default = name.startswith("default")
        for (what, bar), column in list(zip(MEASURES.items(), np.array(row).T, strict=True))[: None if default else 3]:
            measures.append(over_seeds(f"{name}: {what}", column, bar if default else None))
    record(NAME, measures, data="simulated market, test period", seed=SEEDS.start)


if __name__ == "__main__":
    main()
