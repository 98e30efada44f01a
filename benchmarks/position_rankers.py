"""What corrections of place bias give back: rankers that learn from shoppers who hardly look below the first places.

The simulated market with P(examined) of every place to the power POWER, its lists ordered by popularity and segment.
The product's network learns clicks by each `ranker.examination`; it is judged at a neutral place, as served, by NDCG@10
of the true P(click | examined) on later lists. "Full information" learns, from the same inputs, the clicks of the same
shoppers on the same lists where everything is examined; "as few clicks" a draw of these, no more than the others have,
which is what their number alone costs. "none" is the naive fit. SEEDS are of markets and fits; intervals are over
seeds, paired where one way is divided by another.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.record import record
from benchmarks.simulated_rows import SHAPE, TRAINING, SimulatedRows, labels_of, over_seeds
from evaluation.ranking import ndcg, rank
from jobs.examined_rows import with_examination
from marketplace.simulator import Simulation, SimulatorConfig, simulate
from value_model.rankers.batches import request_offsets

NAME = "position_rankers"
SEEDS, POWER, K = range(5), 1.5, 10
MARKET = SimulatorConfig(
    requests=12_000,
    users=400,
    items=200,
    merchants=40,
    logging_temperature=0.3,
    click_offset=2.0,
    examination_power=POWER,
)
FORMS = ("none", "additive", "pal", "ipw", "dla")
FULL, FEW = "full information", "full information, as few clicks"


def markets(seed: int) -> tuple[Simulation, Simulation]:
    """A market, and the same lists before shoppers who examine everything."""
    market, looked = (
        simulate(replace(MARKET, examination_power=power), np.random.default_rng(seed)) for power in (POWER, 0.0)
    )
    assert looked.dataset.slates.equals(market.dataset.slates)
    return market, looked


def reached(rows: SimulatedRows, form: str, clicks: dict[str, np.ndarray], *, seed: int) -> float:
    """Mean NDCG@K by the truth of the test lists, as a network of this form ranks them."""
    train, later = rows.part(rows.period.train, clicks), rows.part(rows.period.validation, clicks)
    if form == "ipw":
        train, later = with_examination(train, later, rows.encoder, least=TRAINING.least_examination)
    ranker = rows.fitted(train, later, shape=replace(SHAPE, examination=form), training=TRAINING, seed=seed)
    test = rows.part(rows.period.test, clicks)
    ranked = rank(ranker.predict(test.inputs)["ctr"], request_offsets(test.inputs.request, len(test.inputs.user_codes)))
    return float(np.nanmean(ndcg(ranked, rows.truth().attraction[rows.rows(rows.period.test)], k=K)))


def as_few(clicks: np.ndarray, most: float, *, seed: int) -> np.ndarray:
    """Clicks [N], each kept with one probability, so that some `most` are left."""
    return (clicks * (np.random.default_rng(seed).random(len(clicks)) < most / clicks.sum())).astype(np.float32)


def main() -> None:
    values: dict[str, list[float]] = {form: [] for form in (*FORMS, FEW, FULL)}
    for seed in SEEDS:
        market, looked = markets(seed)
        rows = SimulatedRows.of(market)
        clicks, everything = labels_of(market, "click"), labels_of(looked, "click")
        few = {"click": as_few(everything["click"], clicks["click"].sum(), seed=seed)}
        full = {FULL: everything, FEW: few}
        for form, row in values.items():
            row.append(reached(rows, "none" if form in full else form, full.get(form, clicks), seed=seed))
            print(f"seed {seed}, {form}: {row[-1]:.4f}", flush=True)
    arrays = {form: np.array(row) for form, row in values.items()}
    measures = [over_seeds(f"{form}: NDCG@{K} on true relevance", row) for form, row in arrays.items()]
    for form in (*FORMS, FEW):
        bar = None if form in ("none", FEW) else ">= 0.98"
        measures.append(over_seeds(f"{form} / {FULL}", arrays[form] / arrays[FULL], bar))
    measures += [over_seeds(f"{form} - none", arrays[form] - arrays["none"]) for form in FORMS[1:]]
    record(NAME, measures, data=f"simulated market, P(examined) ** {POWER}", seed=SEEDS.start)


if __name__ == "__main__":
    main()
