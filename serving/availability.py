"""Availability: which items may be shown at a time, and why the others may not."""

from __future__ import annotations

from enum import IntFlag

import numpy as np

FOREVER = np.iinfo(np.int64).max


class Hindrance(IntFlag):
    """Why an item may not be shown whatever the time; several may hold at once."""

    VACANT = 1  # the row holds no item yet
    REMOVED = 2
    BLOCKED = 4
    MERCHANT_BLOCKED = 8
    HIDDEN = 16
    OUT_OF_STOCK = 32


WORDS = {
    Hindrance.REMOVED: "removed",
    Hindrance.BLOCKED: "blocked",
    Hindrance.MERCHANT_BLOCKED: "merchant blocked",
    Hindrance.HIDDEN: "hidden",
    Hindrance.OUT_OF_STOCK: "out of stock",
}
NOT_LAUNCHED, EXPIRED = "not launched", "expired"


class Availability:
    """Over catalogue rows: hindrances uint8, and times from which and until which an item may be shown.

    `launched` int64 [n] are UTC microseconds, the smallest int64 = always was; whoever writes to it, or to the arrays
    here, calls `changed`.
    """

    def __init__(self, in_stock: np.ndarray, launched: np.ndarray, *, vacant: int = 0) -> None:
        """The last `vacant` rows of `in_stock` bool [n] hold no item yet."""
        self.launched, self.expires = launched, np.full(len(launched), FOREVER)
        self.hindrances = np.where(in_stock, 0, int(Hindrance.OUT_OF_STOCK)).astype(np.uint8)
        self._bundled = len(in_stock) - vacant
        self.hindrances[self._bundled :] |= np.uint8(Hindrance.VACANT)
        self.changed()

    def changed(self) -> None:
        """What was computed from the arrays is computed again."""
        self._since = self._until = FOREVER
        self._mask, self._complete = np.zeros(0, bool), False

    def put(self, hindrance: Hindrance, rows: np.ndarray, holds: np.ndarray) -> None:
        """Whether a hindrance `holds` (bool [m]) of rows [m]."""
        rest = self.hindrances[rows] & ~np.uint8(hindrance)
        self.hindrances[rows] = rest | np.where(holds, int(hindrance), 0).astype(np.uint8)

    def mask(self, time: int) -> np.ndarray:
        """bool [n]: what may be shown at `time` (UTC microseconds)."""
        if not self._since <= time < self._until:
            self._compute(time)
        return self._mask

    def everything(self, time: int) -> bool:
        """Whether that is all that the bundle held, and nothing else."""
        self.mask(time)
        return self._complete

    def of(self, rows: np.ndarray, time: int) -> np.ndarray:
        """bool [m] of some rows."""
        return self.mask(time)[rows]

    def reason(self, row: int, time: int) -> str:
        """Why a row may not be shown."""
        held = Hindrance(int(self.hindrances[row]))
        for hindrance, word in WORDS.items():
            if hindrance in held:
                return word
        return NOT_LAUNCHED if self.launched[row] > time else EXPIRED

    def _compute(self, time: int) -> None:
        """The mask, and the time for which it holds: from the last launch or expiry until the next."""
        self._mask = (self.hindrances == 0) & (self.launched <= time) & (self.expires > time)
        self._complete = bool(self._mask[: self._bundled].all() and not self._mask[self._bundled :].any())
        moments = np.concatenate([self.launched, self.expires])
        past = moments <= time
        self._since = int(moments[past].max(initial=np.iinfo(np.int64).min))
        self._until = int(moments[~past].min(initial=FOREVER))
