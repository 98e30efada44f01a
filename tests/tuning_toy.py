"""A tiny market for tuning: known click rates and order values, Plackett-Luce logs, and the truth beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evaluation.bias.examination import examination_of
from value_model.formula import ValuePolicy, parse_policy
from value_model.formula.logged_slates import LoggedSlates
from value_model.tuning import Estimator, Evidence, PolicyScorer
from value_model.tuning.exposure import of_plackett_luce
from value_model.tuning.sweep import Sweep

CURVE = np.arange(1, 6) ** -0.7
POLICY = parse_policy(b"""
name = "toy"
owner = "test"
reason = "Clicks against sales."
currency = "SAR"
unit = "SAR / impression"
prior = 500

[expressions]
value = "w_click * ctr + w_gmv * gmv + w_new * newness"

[weights]
w_click = { value = 1, unit = "SAR / click", low = 0, high = 10, sign = "+", reason = "r" }
w_gmv = { value = 0.002, unit = "1", low = 0, high = 1, sign = "+", reason = "r" }
w_new = { value = 0.01, unit = "SAR / impression", low = 0, high = 5, sign = "+", reason = "r" }
""")


def market(
    rng: np.random.Generator, *, requests: int, wrong: float = 0.0, width: int = 12, misled: str = ""
) -> Evidence:
    """`predicted` is the truth; the heads in the columns are wrong by a factor that grows with the price. No log yet.

    On the surface `misled` the gmv column is that of other requests. Half of the requests come from each of two
    surfaces; on `search` dear items sell, on `home` cheap ones.
    """
    shape = (requests, width)
    mask = np.arange(width) < rng.integers(width // 2, width + 1, requests)[:, None]
    surface = np.where(rng.random(requests) < 0.5, "search", "home")
    click = rng.beta(2, 8, shape)
    price = rng.lognormal(3, 0.8, shape)
    slope = np.where(surface == "search", 0.3, -0.9)[:, None]
    order = click * 0.4 / (1 + np.exp(-slope * (np.log(price) - 3)))
    truth = {"click": click, "order": order, "gmv": order * price}
    error = np.exp(wrong * (rng.normal(0, 0.5, shape) + np.log(price) - 3))  # dear items are overrated
    newness = rng.random(shape) * (rng.random(shape) < 0.2)
    columns = {"ctr": click * error, "gmv": truth["gmv"] * error, "newness": newness}
    columns["gmv"] = np.where(surface[:, None] == misled, rng.permutation(columns["gmv"]), columns["gmv"])
    return Evidence(
        slates=LoggedSlates({n: np.where(mask, c, 0.0) for n, c in columns.items()}, mask, surface),
        examination=examination_of(surface, np.minimum(5, mask.sum(axis=1)), {"search": CURVE, "home": CURVE**1.5}),
        position=np.zeros(shape, np.int64),
        feedback={name: np.zeros(shape) for name in truth},
        predicted={name: np.where(mask, p, 0.0) for name, p in truth.items()},
        traits={"newcomer": np.where(mask, newness > 0, 0.0)},
        unit=np.arange(requests),
        segment=np.full(requests, ""),
    )


def served(
    truth: Evidence,
    policy: ValuePolicy,
    rng: np.random.Generator,
    *,
    temperature: float = 0.1,
    arm: dict[str, np.ndarray] | None = None,
) -> Evidence:
    """The same requests ranked by Plackett-Luce, with feedback and what the heads expect of clicks and sales."""
    weights = {n: np.full((1, len(truth)), w) for n, w in policy.weights_for().items()}
    weights |= {n: w[None] for n, w in (arm or {}).items()}
    mask = truth.slates.mask
    utility = Sweep(policy, truth.slates.columns, mask=mask).values(weights)[0] / temperature
    order = np.argsort(-(utility + rng.gumbel(size=utility.shape)), axis=1)
    place = np.argsort(order, axis=1) + 1
    position = np.where(mask & (place <= truth.shown[:, None]), place, 0)
    looked = replace(truth, position=position).looked
    click = rng.random(mask.shape) < looked * truth.predicted["click"]
    chance = truth.predicted["order"] / np.maximum(truth.predicted["click"], 1e-12)
    order_placed = click & (rng.random(mask.shape) < chance)
    price = truth.predicted["gmv"] / np.maximum(truth.predicted["order"], 1e-12)
    columns = truth.slates.columns
    error = columns["ctr"] / np.maximum(truth.predicted["click"], 1e-12)
    return replace(
        truth,
        position=position,
        feedback={"click": click.astype(float), "order": order_placed.astype(float), "gmv": order_placed * price},
        predicted={name: p * error for name, p in truth.predicted.items()},
        exposure=of_plackett_luce(utility, truth.examination, rng=rng).probability,
    )


def true_scores(truth: Evidence, weightings: dict[str, np.ndarray]):
    return PolicyScorer(truth, POLICY, estimator=Estimator.DIRECT).scores(weightings)
