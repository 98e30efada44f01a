"""Change points: shifts too small for one day that go on, by Page and Hinkley's cumulated sums (river's detector).

The sum of (z - its running mean -+ ALLOWANCE), z a figure's standardised errors, is compared with its least (greatest)
value so far; a change is declared where they are more than THRESHOLD apart. Sources: Page 1954, Continuous Inspection
Schemes; Hinkley 1971.
"""

from __future__ import annotations

import numpy as np

ALLOWANCE = 0.5  # standard deviations: half of the smallest shift that is looked for
THRESHOLD = 12.0  # standard deviations: not once in 180,000 simulated usual days of a figure
CLIPPED = 3.0  # one wild day is no shift
LEAST = 14  # days
MODES = {0: "both", 1: "up", -1: "down"}


def changed(z: np.ndarray, *, side: int) -> bool:
    """Whether a change is declared on the last of the days `z` [D], NaN = left out; `side` as in `checks.Side`."""
    from river.drift import PageHinkley

    known = np.clip(z[~np.isnan(z)], -CLIPPED, CLIPPED)
    if len(known) < LEAST or np.isnan(z[-1]):
        return False
    detector = PageHinkley(min_instances=LEAST, delta=ALLOWANCE, threshold=THRESHOLD, alpha=1.0, mode=MODES[side])
    for value in known.tolist():
        detector.update(value)
    return bool(detector.drift_detected)
