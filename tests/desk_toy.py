"""A desk over a tiny market whose truth is known: clicks against newcomers, logged at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from desk.material import ItemNames, Material
from value_model.formula import parse_policy
from value_model.formula.logged_slates import LoggedSlates
from value_model.tuning import Evidence

POLICY = parse_policy(b"""
name = "toy"
owner = "ranking"
reason = "Clicks against newcomers."
currency = "SAR"
unit = "SAR / impression"

[expressions]
value = "w_click * ctr + w_new * newness"

[weights]
w_click = { value = 1, unit = "SAR / click", low = 0.1, high = 10, sign = "+", reason = "Clicks." }
w_new = { value = 0.05, unit = "SAR / impression", low = 0, high = 5, sign = "+", reason = "Fresh supply." }
""")
SHOWN = 4
CURVE = np.arange(1, SHOWN + 1) ** -0.7


def toy(folder: Path, *, requests: int = 600, width: int = 8, seed: int = 0, calibration=None) -> Material:
    """Uniformly shuffled lists, so that the exposure of every item is known: the mean of the curve over all places."""
    rng = np.random.default_rng(seed)
    shape, mask = (requests, width), np.ones((requests, width), bool)
    ctr, newness = rng.beta(2, 8, shape), (rng.random(shape) < 0.25) * 1.0
    ctr = ctr * np.where(newness > 0, 0.7, 1.0)
    place = np.argsort(rng.random(shape), axis=1) + 1
    position = np.where(place <= SHOWN, place, 0)
    looked = np.where(position > 0, np.append(CURVE, 0.0)[np.where(position > 0, position - 1, SHOWN)], 0.0)
    click = (rng.random(shape) < looked * ctr) * 1.0
    evidence = Evidence(
        slates=LoggedSlates({"ctr": ctr, "newness": newness}, mask, np.array(["home", "search"] * (requests // 2))),
        examination=np.tile(CURVE, (requests, 1)),
        position=position,
        feedback={"click": click},
        predicted={"click": ctr},
        traits={"newcomer": newness},
        unit=np.arange(requests),
        segment=np.array(["new", "new", "loyal", "loyal"] * (requests // 4)),
        exposure=np.full(shape, CURVE.sum() / width),
        squares={"click": ctr},
    )
    codes = np.arange(requests * width).reshape(shape)
    items = np.array([f"<b>item</b> {code}" for code in range(codes.size)])
    named = ItemNames(
        codes, codes % 7, items, np.array([f"m{i}" for i in range(7)]), np.array(["r"] * requests, object)
    )
    return Material("toy", POLICY, evidence, named, folder / "policies", calibration, requests_per_day=1e4)
