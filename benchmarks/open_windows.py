"""What orders still to come do to cvr: counted as none, left out, or modelled by the time that has passed.

The simulated market, whose orders here come up to WAIT days after their list, is looked at on day NOW: of the newest
requests, orders are yet to come. The product's network learns ctr and cvr from the requests before, and predicts cvr of
those after it, whose truth is known. "In the end" learns from the labels as they stand when all has come; it is what no
shop has. Each fit stops by the same requests after NOW. Intervals are over SEEDS of markets and fits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.record import record
from benchmarks.simulated_rows import SHAPE, TRAINING, SimulatedRows, over_seeds
from marketplace.attribution import attribute
from marketplace.settled import come_shares, settled_labels, settled_requests
from marketplace.simulator import Simulation, SimulatorConfig, simulate
from marketplace.splits import DAY_US, microseconds
from value_model.rankers.ranker import OpenLabel

NAME = "open_windows"
SEEDS, WAIT, NOW = range(5), 6.5, 14
MARKET = SimulatorConfig(
    requests=3_000, users=600, items=300, merchants=40, days=20, click_offset=1.0, order_offset=1.5
)
WAYS = ("counted as no order", "left out", "elapsed", "in the end")


def delayed(market: Simulation, rng: np.random.Generator) -> Simulation:
    """The same market, whose orders come later by a uniform draw of up to WAIT days."""
    feedback = market.dataset.feedback
    late = np.isin(feedback["event"].cast(pa.string()).to_numpy(), ("order", "return"))
    time = microseconds(feedback["time"]) + (late * rng.uniform(0, WAIT * DAY_US, len(late))).astype(np.int64)
    place, field = feedback.column_names.index("time"), feedback.schema.field("time")
    moved = feedback.set_column(place, field, pa.array(time).cast(field.type))
    moved = moved.take(pc.sort_indices(moved["time"]))
    return replace(market, dataset=replace(market.dataset, feedback=moved))


def labels(rows: SimulatedRows) -> dict[str, tuple[dict[str, np.ndarray], dict[str, OpenLabel]]]:
    """By way: labels float32 [N] of all requests, and what is open of them."""
    slates, feedback = rows.simulation.dataset.slates, rows.simulation.dataset.feedback
    end = {name: attribute(slates, feedback).labels[name].to_numpy().astype(np.float32) for name in ("click", "order")}
    old = before(rows)
    known = feedback.filter(pa.array(microseconds(feedback["time"]) < microseconds(slates["time"])[old].max()))
    joined = attribute(slates.filter(pa.array(old)), known)
    order = joined.labels["order"].to_numpy().astype(np.float32)
    settled = settled_labels(joined, settled_requests(joined, known))["order"]
    share = come_shares(joined, known)["order"].astype(np.float32)
    mask = rows.rows(old)
    so_far, come = end["order"].copy(), np.ones(len(mask), np.float32)
    so_far[mask], come[mask] = order, share
    open_rows = mask.copy()
    open_rows[mask] = ~settled
    left_out = {**end, "order": np.where(open_rows, np.nan, so_far).astype(np.float32)}
    return {
        "counted as no order": ({**end, "order": so_far}, {}),
        "left out": (left_out, {}),
        "elapsed": (left_out, {"order": OpenLabel(so_far, come)}),
        "in the end": (end, {}),
    }


def before(rows: SimulatedRows) -> np.ndarray:
    """bool [R]: the requests before NOW."""
    return rows.simulation.requests.day < NOW


def error(
    rows: SimulatedRows, way: tuple[dict[str, np.ndarray], dict[str, OpenLabel]], *, seed: int
) -> tuple[float, float, float]:
    """Predicted over true cvr after NOW, its correlation with the truth, and the rows that taught orders."""
    old, values = before(rows), way[0]
    new = np.flatnonzero(~old)
    later, test = np.zeros_like(old), np.zeros_like(old)
    later[new[: len(new) // 2]], test[new[len(new) // 2 :]] = True, True
    train = rows.part(old, values, still_open=way[1])
    ranker = rows.fitted(train, rows.part(later, values), shape=SHAPE, training=TRAINING, seed=seed)
    predicted, truth = ranker.predict(rows.part(test, values).inputs)["cvr"], rows.truth().order[rows.rows(test)]
    taught = len(train.position) if way[1] else int((~np.isnan(train.labels["order"])).sum())
    return float(predicted.mean() / truth.mean()), float(np.corrcoef(predicted, truth)[0, 1]), taught


def main() -> None:
    values: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        rows = SimulatedRows.of(delayed(simulate(MARKET, rng), rng))
        for name, way in labels(rows).items():
            values[name].append(error(rows, way, seed=seed))
            print(f"seed {seed}, {name}: " + ", ".join(f"{one:.3f}" for one in values[name][-1]), flush=True)
    measures = []
    for name, row in values.items():
        ratio, correlation, taught = np.array(row).T
        bar = "0.95-1.05" if name == "elapsed" else None
        measures.append(over_seeds(f"{name}: predicted / true cvr", ratio, bar))
        measures.append(over_seeds(f"{name}: correlation with true cvr", correlation))
        measures.append(over_seeds(f"{name}: rows that teach orders", taught, unit="rows"))
    data = f"simulated market, orders up to {WAIT} days late, day {NOW}"
    record(NAME, measures, data=data, seed=SEEDS.start)


if __name__ == "__main__":
    main()
