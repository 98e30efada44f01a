"""Checks: how each family of figures is judged, one row each. A figure without a row is reported and never alarms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase
from math import exp


class Side(IntEnum):
    """Which way a figure is odd."""

    BOTH = 0
    ABOVE = 1
    BELOW = -1


@dataclass(frozen=True)
class Check:
    """`least`: the smallest departure from the usual that is worth anybody's time, on the scale that is judged.

    `is_log`: the figure is judged as a logarithm, so that .2 is a fifth more or less; people read it as it is.
    """

    pattern: str
    meaning: str
    least: float
    side: Side = Side.BOTH
    is_log: bool = False


CHECKS = (
    Check("requests", "slates answered", 0.25, is_log=True),
    Check("silence", "longest time without a slate, minutes", 0.7, Side.ABOVE, is_log=True),
    Check("top_shoppers", "share of requests of the five busiest shoppers", 0.5, Side.ABOVE, is_log=True),
    Check("rate.seen", "seen of shown", 0.1, is_log=True),
    Check("rate.click", "clicks of seen", 0.2, is_log=True),
    Check("rate.cart", "carts of clicks", 0.4, is_log=True),
    Check("rate.order", "orders of clicks", 0.5, is_log=True),
    Check("fill", "items shown a slate", 0.05, is_log=True),
    Check("events.*", "share of events that join no item, for this reason", 0.01, Side.ABOVE),
    Check("quarantined.*", "share of events that were not believed", 0.02, Side.ABOVE),
    Check("price", "geometric mean of the prices shown, in currency", 0.15, is_log=True),
    Check("paid_to_price", "geometric mean of what was paid over the price shown", 0.25, is_log=True),
    Check("superseded", "share of slates by versions superseded before the day", 0.02, Side.ABOVE),
    Check("catalogue_updates", "catalogue fields recorded", 1.0, Side.BELOW, is_log=True),
    Check("replayed", "share of slates that replay to the same bits", 0.02, Side.BELOW),
    Check("items", "effective number of items", 0.3, is_log=True),
    Check("overlap", "items that two home lists share", 0.4, Side.ABOVE, is_log=True),
    Check("cold_start", "share of impressions of new items", 0.03),
    Check("gini", "of merchants' impressions", 0.04),
    Check("top_merchant", "share of the merchant shown most", 0.4, Side.ABOVE, is_log=True),
    Check(
        "merchant_clicks", "largest excess of a merchant's clicks over its heads', standard deviations", 1.5, Side.ABOVE
    ),
    Check("source.*", "share of impressions from the source", 0.05),
    Check("calibration.*", "predicted over observed", 0.2, is_log=True),
    Check("entropy.*", "normalised entropy", 0.1, Side.ABOVE, is_log=True),
    Check("auc.*", "area under the ROC curve", 0.05, Side.BELOW),
    Check("auc_expected.*", "the same expected of the scores, without labels", 0.02),
    Check("drift.*", "distance of the column from its earlier days, PSI times requests", 0.7, Side.ABOVE, is_log=True),
    Check(
        "position.*", "distance of clicks' places from earlier days, PSI times requests", 0.7, Side.ABOVE, is_log=True
    ),
    Check("seen.*", "distance of seen places from earlier days, PSI times requests", 0.7, Side.ABOVE, is_log=True),
    Check("hours", "distance of slates' hours from earlier days, PSI times requests", 0.7, Side.ABOVE, is_log=True),
    Check("missing.*", "share of values that are missing", 0.02, Side.ABOVE),
    Check("out_of_range.*", "share of values far outside the reference's range", 0.02, Side.ABOVE),
    Check("skew.*", "share of values that recompute otherwise", 0.02, Side.ABOVE),
)


def check_of(figure: str) -> Check | None:
    """The row that judges a figure; the first that fits."""
    return next((check for check in CHECKS if fnmatchcase(figure, check.pattern)), None)


def as_read(figure: str, value: float) -> float:
    """A figure as people read it."""
    check = check_of(figure)
    return exp(value) if check is not None and check.is_log else value
