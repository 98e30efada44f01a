"""Merchant exposure, paced online by shadow prices.

Every merchant m with a target share g_m of the exposure has a price p_m >= 0 in the value's unit, added to the value
of its items. After a slate in which m received the share e_m, p_m <- clip(p_m + rate * (g_m - e_m), 0, most): dual
subgradient ascent (Balseiro, Lu and Mirrokni 2020). The price is what one more item of m costs the slate.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ExposurePromises:
    """What merchants are promised of the places shown, kept by prices that are added to their items' values.

    `guaranteed` (merchant id, least share); `fair`: each merchant's least share relative to its share of the merit at
    hand, 0 = none. `rate`: how far a price moves after a slate, per share that was missed; `highest_price`: beyond it a
    promise is broken rather than the page ruined. Both in the value's unit.
    """

    rate: float
    highest_price: float
    guaranteed: tuple[tuple[str, float], ...] = ()
    fair: float = 0.0

    def to_toml(self) -> dict[str, Any]:
        return {**asdict(self), "guaranteed": dict(self.guaranteed)}

    def scaled(self, factor: float) -> ExposurePromises:
        """The same where one unit of value is called `factor`."""
        return replace(self, rate=self.rate * factor, highest_price=self.highest_price * factor)


class ShadowPrices:
    """The prices of one pacing loop: `price` float64 [merchants].

    target float64 [merchants]: least share of exposure (0 = none promised); rate: value units a slate; most: the
    highest price, beyond which a promise is broken rather than the page ruined.
    """

    def __init__(self, target: np.ndarray, *, rate: float, most: float) -> None:
        target = np.asarray(target, np.float64)
        if target.min(initial=0.0) < 0 or target.sum() > 1 + 1e-9:
            raise ValueError(f"target shares sum to {target.sum():g}; they must be 0 or more and sum to at most 1.")
        if not (rate > 0 and most > 0):
            raise ValueError(f"rate is {rate} and most {most}; both are above 0, in the value's unit.")
        self.target = target
        self.price = np.zeros(len(target))
        self._rate = rate
        self._most = most

    def worth(self, merchant: np.ndarray) -> np.ndarray:
        """float64 [n]: what to add to the values of items of `merchant`."""
        return self.price[merchant]

    def observe(
        self, merchant: np.ndarray, *, exposure: np.ndarray | None = None, target: np.ndarray | None = None
    ) -> None:
        """Learn from a slate: merchants of its places, their exposure (default: equal), and this slate's target.

        A target of the slate's own, such as `merit_share`, asks for exposure in proportion to what was at hand.
        """
        weight = np.ones(len(merchant)) if exposure is None else exposure
        if weight.sum() <= 0:
            return
        received = np.bincount(merchant, weights=weight, minlength=len(self.price)) / weight.sum()
        target = self.target if target is None else target
        np.clip(self.price + self._rate * (target - received), 0.0, self._most, out=self.price)


def merit_share(value: np.ndarray, merchant: np.ndarray, *, merchants: int, k: int, slack: float = 0.2) -> np.ndarray:
    """Fair target of one slate: (1 - slack) times each merchant's share of the k best candidates' positive value.

    Exposure in proportion to merit instead of winner takes all (Singh and Joachims 2018), with room of `slack`.
    """
    merit = np.maximum(np.where(np.isfinite(value), value, 0.0), 0.0)
    if len(merit) > k:
        merit = np.where(merit >= np.partition(merit, -k)[-k], merit, 0.0)
    total = np.bincount(merchant, weights=merit, minlength=merchants)
    return (1 - slack) * total / max(total.sum(), np.finfo(float).tiny)
