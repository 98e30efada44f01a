"""Tiers: what is drawn tier by tier is a slate of its own in each tier.

A search shows all of its first tier before any of the next (`[slate.relevance]`), home what its shopper left unheeded
after all else. Within a tier the value ranks or Plackett-Luce draws; so P(slate) is the product over tiers, and an
item's exposure is that in its tier, whose places begin where the tiers above end. Arrays are [R, n] over requests and
[G, m] over the G tiers of all requests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from marketplace.schema import LISTS_SINCE, RELEVANCE, TIER
from marketplace.slate_columns import (
    RequestLists,
    flat,
    item_offsets,
    numeric_features,
    pad,
    request_of_rows,
    slate_mask,
    to_numpy,
)
from value_model.formula.value_policy import ValuePolicy
from value_model.slate_policies.slate_section import SlateSection


def logged_tiers(slates: pa.Table, policy: ValuePolicy) -> np.ndarray:
    """float64 [N]: the tier that each row was chosen in, the highest first; 0 where a request had none.

    Of a search as served, or in a log that holds grades alone as `policy` tiers them; of home what `policy` puts last.
    """
    tier, section = np.zeros(item_offsets(slates)[-1]), policy.slate or SlateSection()
    grade, served, since = (numeric_features(slates, name) for name in (RELEVANCE, TIER, LISTS_SINCE))
    if section.relevance is not None:
        rows = _logged_rows(slates, grade)
        score, request = to_numpy(flat(slates, "retrieval_score"))[rows], request_of_rows(slates)[rows]
        tier[rows] = section.relevance.order(to_numpy(grade.values), score, request)
    tier[_logged_rows(slates, served)] = to_numpy(served.values)
    if section.unheeded is not None:
        tier[_logged_rows(slates, since)] -= section.unheeded.left(to_numpy(since.values))
    return tier


def _logged_rows(slates: pa.Table, logged: RequestLists) -> np.ndarray:
    """int64: the rows of the requests that logged an entry."""
    return np.flatnonzero(np.repeat(logged.lengths > 0, np.diff(item_offsets(slates))))


@dataclass(frozen=True, eq=False)
class TierSlates:
    """The G tiers of R requests, as slates: `row` int64 [N] of the requests' candidates, those of a tier together.

    `mask` bool [G, m]; `request` int64 [G]; `start` int64 [G]: how many candidates stand in the tiers above.
    """

    whole: np.ndarray
    row: np.ndarray
    mask: np.ndarray
    request: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray, tier: np.ndarray | None) -> TierSlates:
        """Of candidates (bool [R, n]) in tiers [R, n], the highest first; None = one tier each."""
        request = np.nonzero(mask)[0]
        number = np.zeros(len(request)) if tier is None else tier[mask]
        row = np.lexsort((-number, request))
        new = np.append(True, (np.diff(request[row]) != 0) | (np.diff(number[row]) != 0))[: len(row)]
        first = np.flatnonzero(new)
        begin = np.append(0, np.cumsum(mask.sum(axis=1)))[request[row][first]]
        offsets = np.append(first, len(row))
        return cls(mask, row, slate_mask(offsets), request[row][first], first - begin)

    def split(self, column: np.ndarray, *, absent: float = 0.0) -> np.ndarray:
        """[G, m] of [R, n]."""
        return pad(column[self.whole][self.row], self.mask, absent=absent)

    def joined(self, column: np.ndarray, *, absent: float = 0.0) -> np.ndarray:
        """[R, n] of [G, m]."""
        rows = np.empty(len(self.row), column.dtype)
        rows[self.row] = column[self.mask]
        return pad(rows, self.whole, absent=absent)

    def places(self, position: np.ndarray) -> np.ndarray:
        """int64 [G, m]: 1-based positions within the tier; 0 = not shown, or in a place that is not the tier's."""
        within = self.split(position) - self.start[:, None]
        return np.where((within >= 1) & (within <= self.mask.sum(axis=1, keepdims=True)), within, 0)

    def examination(self, looks: np.ndarray) -> np.ndarray:
        """[G, K]: P(examined) of the tier's places, from those of whole requests [R, K]."""
        place = np.arange(looks.shape[1])
        shifted = place + self.start[:, None]
        within = (place < self.mask.sum(axis=1, keepdims=True)) & (shifted < looks.shape[1])
        return np.where(within, looks[self.request[:, None], np.minimum(shifted, looks.shape[1] - 1)], 0.0)
