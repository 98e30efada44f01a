"""Change points: shifts too small for one day that go on, by Page and Hinkley's cumulated sums (river's detector).

The sum of (z - its running mean -+ ALLOWANCE), z a figure's standardised errors, is compared with its least (greatest)
value so far; a change is declared where they are more than THRESHOLD apart. Sources: Page 1954, Continuous Inspection
Schemes; Hinkley 1971.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from river.drift import PageHinkley

ALLOWANCE = 0.5  # standard deviations: half of the smallest shift that is looked for
THRESHOLD = 12.0  # standard deviations: not once in 180,000 simulated usual days of a figure
CLIPPED = 3.0  # one wild day is no shift
LEAST = 14  # days
MODES = {0: "both", 1: "up", -1: "down"}


def changed(z: np.ndarray, *, side: int) -> bool:
    """Whether a change is declared on the last of the days `z` [D], NaN = left out; `side` as in `checks.Side`."""
    known = np.clip(z[~np.isnan(z)], -CLIPPED, CLIPPED)
    if len(known) < LEAST or np.isnan(z[-1]):
        return False
    sums = detector(side=side)
    for value in known.tolist():
        sums.update(value)
    return bool(sums.drift_detected)


def detector(*, side: int, threshold: float = THRESHOLD) -> PageHinkley:
    """The cumulated sums of one figure, empty."""
    from river.drift import PageHinkley

    return PageHinkley(min_instances=LEAST, delta=ALLOWANCE, threshold=threshold, alpha=1.0, mode=MODES[side])
