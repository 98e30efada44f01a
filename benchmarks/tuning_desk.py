"""How long does a movement of a slider take, from the moved weight to the updated view, on 2,000 slates of 50 items?

The view is all that the notebook shows: three requests ranked again with every term's bars, seven metrics with
intervals, the guardrails' lights. Beside it the same with its HTML and widgets, and what `predict` alone takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.record import Measure, record
from desk.desk import Desk
from desk.material import ItemNames, Material
from desk.notebook.panel import Panel
from evaluation.bias.examination import examination_of
from value_model.formula import default_policy
from value_model.formula.logged_slates import LoggedSlates
from value_model.tuning import Evidence, predict
from value_model.tuning.exposure import of_plackett_luce
from value_model.tuning.from_log import expected_squares

SEED, REQUESTS, WIDTH, SHOWN, MOVES = 0, 2_000, 50, 10, 40
SURFACES = ("home", "search", "store_page", "product_page")


def columns_of(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Heads and merchant quantities of the default formula, on the scale that markets have."""
    shape = (REQUESTS, WIDTH)
    ctr, cvr, order_value = rng.beta(2, 30, shape), rng.beta(2, 20, shape), rng.lognormal(5, 1, shape)
    columns = {"ctr": ctr, "cvr": cvr, "order_value": order_value, "ctcvr": ctr * cvr, "gmv": ctr * cvr * order_value}
    shares = {"commission_rate": 0.2, "quality": 1.0, "return_rate": 0.2, "refusal_rate": 0.2, "newness": 1.0}
    return columns | {name: rng.uniform(0, high, shape) for name, high in shares.items()}


def material(rng: np.random.Generator) -> Material:
    """A Plackett-Luce log of the default policy with feedback drawn from its heads."""
    columns, mask = columns_of(rng), np.ones((REQUESTS, WIDTH), bool)
    surface = np.array(SURFACES)[rng.integers(0, len(SURFACES), REQUESTS)]
    curve = np.arange(1, SHOWN + 1) ** -0.7
    looks = examination_of(surface, np.full(REQUESTS, SHOWN), dict.fromkeys(SURFACES, curve))
    utility = 5 * np.log(columns["ctr"] + columns["gmv"] / 100)
    place = np.argsort(np.argsort(-(utility + rng.gumbel(size=utility.shape)), axis=1), axis=1) + 1
    position = np.where(place <= SHOWN, place, 0)
    looked = np.where(position > 0, np.pad(curve, (1, 0))[np.where(position > 0, position, 0)], 0.0)
    click = rng.random(mask.shape) < looked * columns["ctr"]
    order = click & (rng.random(mask.shape) < columns["cvr"])
    feedback = {"click": click * 1.0, "order": order * 1.0, "gmv": order * columns["order_value"]}
    feedback["commission"] = feedback["gmv"] * columns["commission_rate"]
    predicted = {"click": columns["ctr"], "order": columns["ctcvr"], "gmv": columns["gmv"]}
    predicted["commission"] = columns["gmv"] * columns["commission_rate"]
    evidence = Evidence(
        slates=LoggedSlates(columns, mask, surface),
        examination=looks,
        position=position,
        feedback=feedback,
        predicted=predicted,
        traits={"newcomer": (columns["newness"] > 0.9) * 1.0, "quality": columns["quality"]},
        unit=rng.integers(0, REQUESTS // 2, REQUESTS),
        segment=np.array(("new", "loyal"))[rng.integers(0, 2, REQUESTS)],
        exposure=of_plackett_luce(utility, looks, rng=rng).probability,
        squares=expected_squares(predicted),
    )
    codes = rng.integers(0, 5_000, mask.shape)
    items, merchants = (np.array([f"{kind} {i}" for i in range(5_000)]) for kind in ("item", "merchant"))
    named = ItemNames(codes, codes // 10, items, merchants, np.array([f"request {i}" for i in range(REQUESTS)]))
    return Material("benchmark", default_policy(), evidence, named, Path("unused"), requests_per_day=1e5)


def seconds(calls: Mapping[str, Callable[[float], object]]) -> dict[str, np.ndarray]:
    """[MOVES] of each call in turn with ever different weights; the first ones, which fill caches, do not count."""
    weights = np.linspace(0.05, 0.9, MOVES + 3).round(3).tolist()
    times = {name: np.empty(len(weights)) for name in calls}
    for i, weight in enumerate(weights):
        for name, call in calls.items():
            start = time.perf_counter()
            call(weight)
            times[name][i] = time.perf_counter() - start
    return {name: taken[3:] for name, taken in times.items()}


def main() -> None:
    desk = Desk(material(np.random.default_rng(SEED)), seed=SEED)
    slider = Panel(Desk(desk.material, seed=SEED)).sliders["w_click"]
    evidence, policy, rng = desk.material.evidence, desk.policy, np.random.default_rng(SEED)
    taken = seconds(
        {
            "slider": lambda weight: setattr(slider, "value", weight),
            "view": lambda weight: desk.move({"w_click": weight}),
            "predict": lambda weight: predict(evidence, policy, {"w_click": weight}, rng=rng),
        }
    )
    measures = [
        Measure("slider to updated view, median", float(np.median(taken["slider"])), "s", "<= 0.3"),
        Measure("slider to updated view, 95th percentile", float(np.quantile(taken["slider"], 0.95)), "s", "<= 0.3"),
        Measure("of it: the view without widgets, median", float(np.median(taken["view"])), "s"),
        Measure("beside it: predict alone, nothing kept ready, median", float(np.median(taken["predict"])), "s"),
    ]
    data = f"{REQUESTS:,} drawn slates of {WIDTH} items, {SHOWN} shown; {MOVES} movements of one slider"
    record("tuning_desk", measures, data=data, seed=SEED)


if __name__ == "__main__":
    main()
