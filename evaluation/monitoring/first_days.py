"""The first days of a log, when nothing is usual yet: one day's distributions against another's, by whole shoppers.

It cannot know what days have of their own, such as a weekend: it tells, and never alarms.
"""

from __future__ import annotations

import numpy as np

from evaluation.monitoring.day_log import DayLog
from evaluation.monitoring.distances import ClusteredTest, clustered_psi
from evaluation.monitoring.inputs import Bins, columns, reference_bins
from marketplace.slate_columns import to_numpy

LEVEL = 0.05  # over all columns together
FEWEST = 30  # shoppers of each day


def moved_columns(before: DayLog, day: DayLog, rng: np.random.Generator) -> dict[str, ClusteredTest]:
    """Columns whose distributions of the two days differ beyond chance; none where a day has too few shoppers."""
    bins = reference_bins([before])
    tests = {name: test for name, one in bins.items() if (test := _test(before, day, name, one, rng)) is not None}
    return {name: test for name, test in tests.items() if test.p_value < LEVEL / len(tests)}


def _test(before: DayLog, day: DayLog, name: str, bins: Bins, rng: np.random.Generator) -> ClusteredTest | None:
    parts = [by_shopper(one, name, bins) for one in (before, day)]
    sizes = [len(part) for part in parts]
    return None if min(sizes) < FEWEST else clustered_psi(np.concatenate(parts), np.repeat([False, True], sizes), rng)


def by_shopper(day: DayLog, name: str, bins: Bins) -> np.ndarray:
    """float64 [U, bins]: counts of the day's shoppers who have a value."""
    values, request = dict(columns(day)).get(name, (np.empty(0), np.empty(0, np.int64)))
    codes = bins.codes(values)
    shopper = np.unique(to_numpy(day.slates["user_id"])[request[codes >= 0]], return_inverse=True)[1]
    cells = shopper * bins.size + codes[codes >= 0]
    return np.bincount(cells, minlength=(shopper.max(initial=-1) + 1) * bins.size).reshape(-1, bins.size).astype(float)
