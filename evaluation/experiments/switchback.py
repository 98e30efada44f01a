"""Switchbacks: a city changes its variant from window to window; does a window carry over into the next?

Windows are drawn one by one, so that the difference between them is what a window's variant does within it, whatever
hangs together in time. Shipping the variant also does what the window before leaves behind: couriers, stock, habits.

    carried = mean over the variant of the present window of (metric after the variant) - (metric after the control)
    steady  = (both windows under the variant) - (both under the control): what shipping it does, were the carry-over
              no longer than a window (Bojinov, Simchi-Levi & Zhao 2023, "Design and Analysis of Switchback
              Experiments", at order 1)

Conventions: U windows; `arm` int [U] is 0 (control), 1 (the variant) or -1; `place` [U] numbers the city, `window` [U]
the time; a window whose predecessor is in neither arm counts for neither figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.experiments.effects import Contrast, Ratio, effect
from evaluation.experiments.sums import unit_sums


@dataclass(frozen=True)
class Switchback:
    """`carried` in the metric's unit, `steady` relative to the control's level."""

    carried: Contrast
    steady: Contrast


def switchback(
    columns: Mapping[str, np.ndarray], ratio: Ratio, *, arm: np.ndarray, place: np.ndarray, window: np.ndarray
) -> Switchback:
    """Both figures of `ratio` over windows."""
    before = previous_arm(arm, place, window)
    group = np.where((arm >= 0) & (before >= 0), 2 * arm + before, -1)
    sums = unit_sums(columns, group, groups=4)
    parts = [effect(sums[2 * one].means, sums[2 * one + 1].means, ratio) for one in (0, 1)]
    return Switchback(_mean(parts), effect(sums[0].means, sums[3].means, ratio, relative=True))


def previous_arm(arm: np.ndarray, place: np.ndarray, window: np.ndarray) -> np.ndarray:
    """int [U]: the arm of the same place one window earlier, -1 where there is none."""
    order = np.lexsort((window, place))
    follows = (place[order][1:] == place[order][:-1]) & (window[order][1:] == window[order][:-1] + 1)
    before = np.full(len(arm), -1)
    before[order[1:][follows]] = arm[order[:-1][follows]]
    return before


def _mean(parts: list[Contrast]) -> Contrast:
    """Of two contrasts over windows of their own."""
    one, other = parts
    error = np.hypot(one.error, other.error) / 2
    degrees = error**4 * 16 / (one.error**4 / one.degrees + other.error**4 / other.degrees)
    reason = np.where(one.reason != "", one.reason, other.reason)
    value = (one.value + other.value) / 2
    return Contrast(value, error, degrees, one.n + other.n, np.ones(np.shape(value)), reason)
