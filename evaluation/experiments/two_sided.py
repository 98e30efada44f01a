"""Two-sided designs: shoppers and merchants are drawn apart, so that what one side loses to the other is seen.

A cell is a shopper on the pages of a merchant; its type is (shopper's arm, merchant's arm), 0 = control. With m(b, s)
the metric over the cells of a type (Bajari, Burdick, Imbens, Masoero, McQueen, Richardson & Rosen 2023, "Experimental
design in marketplaces"):

    both     = m(1, 1) - m(0, 0)      what changing both sides does
    shoppers = m(1, 0) - m(0, 0)      what treated shoppers do at merchants that are as in force
    merchants = m(0, 1) - m(0, 0)     what happens at treated merchants to shoppers who are as in force
    together = m(1, 1) - m(1, 0) - m(0, 1) + m(0, 0)    what neither side does alone

Cells of one shopper hang together, and so do those of one merchant: errors are clustered both ways (Cameron, Gelbach &
Miller 2011), V = V over shoppers + V over merchants - V over cells; where that is not above 0, the larger of the first
two stands for it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evaluation.experiments.effects import FEWEST, Contrast

CONTRASTS = {"both": (-1, 0, 0, 1), "shoppers": (-1, 0, 1, 0), "merchants": (-1, 1, 0, 0), "together": (1, -1, -1, 1)}


def two_sided(
    numerator: np.ndarray,
    denominator: np.ndarray,
    *,
    shopper: np.ndarray,
    merchant: np.ndarray,
    shopper_arm: np.ndarray,
    merchant_arm: np.ndarray,
) -> Mapping[str, Contrast]:
    """The four contrasts of sum numerator / sum denominator over rows [N]: slates, or cells.

    `shopper`, `merchant` int [N] number the sides; their arms [N] are 0 or 1, the same in all rows of one of them.
    """
    kind = 2 * shopper_arm + merchant_arm
    total = np.stack([np.bincount(kind, of, minlength=4) for of in (numerator, denominator)])
    with np.errstate(invalid="ignore", divide="ignore"):
        level = total[0] / total[1]
        # How much each row moves the level of its type.
        moved = (numerator - level[kind] * denominator) / total[1][kind]
    units = [min(len(np.unique(side[kind == one])) for side in (shopper, merchant)) for one in range(4)]
    return {
        name: _contrast(np.array(weights, float), level, moved, kind, shopper, merchant, units)
        for name, weights in CONTRASTS.items()
    }


def _contrast(
    weight: np.ndarray,
    level: np.ndarray,
    moved: np.ndarray,
    kind: np.ndarray,
    shopper: np.ndarray,
    merchant: np.ndarray,
    units: list[int],
) -> Contrast:
    used = [one for one in range(4) if weight[one]]
    fewest = min(units[one] for one in used)
    shares = np.where(weight[kind] != 0, weight[kind] * moved, 0.0)
    cell = np.unique(shopper * (merchant.max(initial=0) + 1) + merchant, return_inverse=True)[1]
    by = [_variance(shares, side) for side in (shopper, merchant, cell)]
    both = by[0] + by[1] - by[2]
    error = np.sqrt(both if both > max(by[:2]) / 2 else max(by[:2]))
    reason = ""
    if fewest < FEWEST:
        reason = f"fewer than {FEWEST} shoppers or merchants in a type of cells"
    elif not error > 0:
        reason = "no cell differs from another, so that chance cannot be judged"
    degrees = np.array(max(fewest - 1.0, 1.0))
    value = np.array(sum(weight[one] * level[one] for one in used))
    return Contrast(value, np.asarray(error), degrees, np.array(len(np.unique(cell))), np.array(1.0), np.array(reason))


def _variance(shares: np.ndarray, side: np.ndarray) -> float:
    """Sum of squares of what each of a side moves."""
    return float(np.square(np.bincount(side, shares)).sum())
