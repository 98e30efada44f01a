"""Feature state: what was known of requests and their rows; and what a derived feature is, a formula over it.

Conventions: R requests, N rows; times int64 UTC microseconds, NEVER = has not happened; NaN = not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from features.asof import NEVER
from features.spec import Feature
from marketplace.splits import DAY_US

TIE_BITS = 30  # of a mantissa: values of a list that agree in so many are ties


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureState:
    """R requests and their N rows; `state[column]` reads a statistic's column (`features.statistics`), [R] or [N].

    One state serves training, many requests at once, and serving, one request: the formulas cannot differ.
    """

    offsets: np.ndarray  # int64 [R + 1]
    request: np.ndarray  # int64 [N]
    time: np.ndarray  # int64 [R]
    item: np.ndarray  # int32 [N], catalogue row, -1 = not in the catalogue
    price: np.ndarray  # float64 [N], as shown, currency
    category: np.ndarray  # int32 [N], code, -1 = unknown
    merchant: np.ndarray  # int32 [N], code, -1 = unknown
    category_price: np.ndarray  # float64 [N], mean catalogue price of the category
    launched: np.ndarray  # int64 [N]
    number: np.ndarray  # float64 [N], the one that the item's id is
    rates: Mapping[str, np.ndarray]  # the merchant's, float [N] each
    of_item: Mapping[str, np.ndarray]  # the catalogue's further numbers, float32 [N] each
    sent: Mapping[str, np.ndarray]  # mapped numbers of shopper, request ([R] each) and candidate ([N] each)
    statistics: Mapping[str, np.ndarray]

    def __getitem__(self, column: str) -> np.ndarray:
        return self.statistics[column]

    def of_request(self, values: np.ndarray) -> np.ndarray:
        """Values [R] at each row, [N]; of a single request as they are, [1], which broadcasts over its rows."""
        return values if len(values) == 1 else values[self.request]

    @property
    def row_time(self) -> np.ndarray:
        """int64 [N] or [1]: the time of each row's request."""
        return self.of_request(self.time)

    def rank(self, values: np.ndarray) -> np.ndarray:
        """Share of the request's rows that are smaller, in [0, 1); ties, in TIE_BITS, share the lowest."""
        mantissa, exponent = np.frexp(values)
        return rank_in_list(np.ldexp(np.round(np.ldexp(mantissa, TIE_BITS)), exponent - TIE_BITS), self.offsets)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """float64 [R]: mean of the request's rows; 0 without rows."""
        total = np.bincount(self.request, values, minlength=len(self.time))
        return total / np.maximum(np.diff(self.offsets), 1)


Formula = Callable[[FeatureState], np.ndarray]


class Part(StrEnum):
    """When a feature is in a spec (`features.definitions.standard_spec`)."""

    ALWAYS = "always"
    TEXT = "text"  # where names and queries are words
    IMPRESSIONS = "impressions"  # where lists were recorded
    PRODUCT_PAGES = "product_pages"  # where lists on product pages were recorded
    SEQUENCE = "sequence"  # where a model reads the history as a sequence
    AGAINST_LIST = "against_list"  # where a caller's whole list is ranked
    EXTRA = "extra"  # where it is named


@dataclass(frozen=True)
class Definition:
    """A feature, and the formula of its number ([R] of the user group, [N] of the others; None = a category)."""

    feature: Feature
    formula: Formula | None = None
    part: Part = Part.ALWAYS


def rank_in_list(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """float64 [N]: number of smaller values in the same request, over its number of rows; NaN stays NaN."""
    length = np.diff(offsets)
    request = np.repeat(np.arange(len(length)), length)
    order = np.lexsort((values, request))
    ordered = values[order]
    new = np.ones(len(values), bool)
    new[1:] = (ordered[1:] != ordered[:-1]) | (request[1:] != request[:-1])
    first = np.maximum.accumulate(np.where(new, np.arange(len(values)), 0))
    rank = np.empty(len(values))
    rank[order] = (first - offsets[request]) / np.maximum(length, 1)[request]
    return np.where(np.isnan(values), np.nan, rank)


def log_ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """log(above / below); NaN where either is missing or not positive."""
    valid = (above > 0) & (below > 0)
    ratio = np.where(valid, above, 1.0) / np.where(valid, below, 1.0)
    return np.where(valid, np.log(ratio), np.nan)


def days(past: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Days from `past` to `now`, 0 where `past` lies later (a past request, a wrong clock); NaN = never."""
    return np.where(past == NEVER, np.nan, np.maximum(now - np.where(past == NEVER, now, past), 0) / DAY_US)
