"""Novelty: does the effect wear off, or grow, as units get used to the variant?

Units are compared at the same age: days since their first slate in the experiment. Only those that reached the end of
an age count there, so that young units are not taken for idle ones. The trend is the last age's relative change minus
the first's in logarithms, over units that reached both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np

from evaluation.experiments.effects import Contrast, Ratio, change_of_change, effect
from evaluation.experiments.sums import UNITS, unit_sums
from evaluation.experiments.trust import DAY
from evaluation.experiments.unit_table import UnitTable

AGES = (0, 1, 7, 14, 28, 56)  # days since the first slate: the edges


@dataclass(frozen=True)
class Novelty:
    """`effects`: relative contrast by age, such as "days 1 to 7"; `trend`: of those changes, None with one age."""

    effects: dict[str, Contrast]
    trend: Contrast | None


def novelty(
    table: UnitTable,
    requests: dict[str, np.ndarray],
    time: np.ndarray,
    ratio: Ratio,
    *,
    arm: np.ndarray,
    now: datetime,
    ages: Sequence[int] = AGES,
) -> Novelty:
    """Of `ratio` over columns [R] of `requests` at `time` int64 [R] us, read at `now`.

    `arm` int [U]: 0 = the control's, 1 = the variant's, -1 = neither.
    """
    age = (time[table.slate] - table.first[table.unit]) // DAY
    reached = (int(now.timestamp() * 1e6) - table.first) // DAY
    parts = [(low, high) for low, high in pairwise(ages) if _enough(arm, reached >= high)]
    columns = {}
    for low, high in parts:
        inside = (age >= low) & (age < high)
        for name in {ratio.numerator, ratio.denominator} - {UNITS}:
            values = requests[name][table.slate[inside]]
            columns[f"{name} {low}"] = np.bincount(table.unit[inside], values, minlength=len(table))
    effects = {}
    for low, high in parts:
        sums = unit_sums(columns, np.where(reached >= high, arm, -1), groups=2)
        effects[f"days {low} to {high}"] = effect(sums[0].means, sums[1].means, _at(ratio, low), relative=True)
    if len(parts) < 2:
        return Novelty(effects, None)
    sums = unit_sums(columns, np.where(reached >= parts[-1][1], arm, -1), groups=2)
    late, early = (_at(ratio, low) for low, _ in (parts[-1], parts[0]))
    return Novelty(effects, change_of_change(sums[0].means, sums[1].means, late, early))


def _at(ratio: Ratio, low: int) -> Ratio:
    below = ratio.denominator if ratio.denominator == UNITS else f"{ratio.denominator} {low}"
    return Ratio(f"{ratio.numerator} {low}", below)


def _enough(arm: np.ndarray, reached: np.ndarray) -> bool:
    return min(int((reached & (arm == one)).sum()) for one in (0, 1)) >= 2
