"""Moves of items while the log runs: one new price each for some, one spell without stock for some.

    price(day) = price x exp(N(0, STEP)) from `repriced` on;   out of stock from `out_from` to `out_from` + SPELL_DAYS

Days are counted from the log's start, inf = never.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marketplace.simulator.config import SimulatorConfig

STEP = 0.25  # sd of the logarithm of a price's change
SPELL_DAYS = 3.0


@dataclass(frozen=True)
class Moves:
    """Of I items."""

    repriced: np.ndarray  # float64 [I]: day of the new price
    price_step: np.ndarray  # float32 [I]: logarithm of new price / old
    out_from: np.ndarray  # float64 [I]: day on which stock runs out


def draw_moves(config: SimulatorConfig, rng: np.random.Generator, *, always: int) -> Moves:
    """The first `always` items stay in stock, so that no category is ever empty."""

    def days(share: float) -> np.ndarray:
        moved = rng.random(config.items) < share
        return np.where(moved, rng.uniform(0, config.days, config.items), np.inf)

    repriced, out_from = days(config.repriced_share), days(config.sold_out_share)
    out_from[:always] = np.inf
    return Moves(repriced, rng.normal(0, STEP, config.items).astype(np.float32), out_from)
