"""Assignment: units are drawn into layers, experiments and variants by salted hashes; nothing is stored.

u(salt, unit) = 8 bytes of BLAKE2b(salt, 0, unit) / 2^64 is uniform on [0, 1), and independent for different salts.
A unit is in an experiment where its u of the layer's salt lies in the layer's part [low, high) and, of that part, below
the exposure of the ramp's step: a rising ramp only adds units. Its u of the experiment's name decides the variant, at
shares that no ramp moves. The holdout's salt is one for all: whom one experiment holds out, a larger holdout does too.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from evaluation.experiments.experiment_file import Experiment

HOLDOUT_SALT = "holdout"


def uniform(salt: str, units: Iterable[str]) -> np.ndarray:
    """float64 [units] on [0, 1): the draw of each unit under `salt`."""
    start = blake2b(f"{salt}\0".encode(), digest_size=8)

    def draw(unit: str) -> int:
        one = start.copy()
        one.update(unit.encode())
        return int.from_bytes(one.digest()) >> 11  # the 53 bits that a float64 holds

    return np.fromiter(map(draw, units), np.int64) * 2.0**-53


def assign(experiment: Experiment, units: Iterable[str], *, step: int) -> np.ndarray:
    """int [units]: the index of each one's variant at ramp step `step`; -1 = not in the experiment."""
    units = list(units)
    layer = experiment.layer
    place = (uniform(layer.salt or layer.name, units) - layer.low) / (layer.high - layer.low)
    part = (place >= 0) & (place < experiment.exposure(step))
    if experiment.holdout:
        part &= ~held_out(experiment, units)
    bounds = np.cumsum([variant.share for variant in experiment.variants])[:-1]
    return np.where(part, np.searchsorted(bounds, uniform(f"variant of {experiment.name}", units), side="right"), -1)


def held_out(experiment: Experiment, units: Iterable[str]) -> np.ndarray:
    """bool [units]: whether the experiment's holdout keeps them from it."""
    return uniform(HOLDOUT_SALT, units) < experiment.holdout
