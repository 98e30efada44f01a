"""What a value formula reads, taken back from logged slates as padded arrays [R, n]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from marketplace.schema import FORMULA_PREFIX
from marketplace.slate_columns import (
    RequestLists,
    flat,
    item_offsets,
    lists,
    numeric_features,
    pad,
    slate_mask,
    to_numpy,
)
from value_model.formula.evaluate import Columns
from value_model.formula.value_policy import ValuePolicy

OWN = ("price", "retrieval_score", "merchant_value")  # a slate's own columns


@dataclass(frozen=True)
class LoggedSlates:
    """R requests padded to the longest: columns float64 [R, n], mask bool [R, n], surface text [R].

    tier float64 [R, n]: whoever of a request has the higher came first, whatever the values; None = values alone rank.
    """

    columns: Columns
    mask: np.ndarray
    surface: np.ndarray
    tier: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.mask)

    def on(self, surface: str) -> LoggedSlates:
        """The requests of one surface."""
        return self.take(self.surface == surface)

    def take(self, rows: np.ndarray) -> LoggedSlates:
        """Some of the requests: bool [R] or row numbers."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        tier = None if self.tier is None else self.tier[rows]
        return LoggedSlates(columns, self.mask[rows], self.surface[rows], tier)

    @property
    def surfaces(self) -> list[str]:
        return sorted(set(self.surface.tolist()))


def logged_slates(slates: pa.Table, policy: ValuePolicy) -> LoggedSlates:
    """The policy's inputs from a SLATE table; raises ValueError naming those that were not logged for every item.

    NaN was logged where a feature was not known; it counts as logged where the policy says what stands for it.
    """
    offsets = item_offsets(slates)
    rows = {name: logged_column(slates, name) for name in policy.inputs}
    missing = [
        name
        for name, (column, logged) in rows.items()
        if not logged.all() or (name not in policy.stand_ins and np.isnan(column).any())
    ]
    if missing:
        raise ValueError(
            f"the slates do not hold {missing} for every item, which policy {policy.name!r} reads: "
            "log them with the slate, or check a policy that does without."
        )
    mask = slate_mask(offsets)
    columns = {name: pad(column, mask) for name, (column, _) in rows.items()}
    return LoggedSlates(columns, mask, to_numpy(slates["surface"].combine_chunks()).astype(str))


def logged_column(slates: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(float64 [N], bool [N]: logged) from the predictions, the slate's own columns or the features as served."""
    counts = np.diff(item_offsets(slates))
    if name in OWN:
        return to_numpy(flat(slates, name)).astype(np.float64), np.ones(counts.sum(), bool)
    column, logged = np.full(counts.sum(), np.nan), np.zeros(counts.sum(), bool)
    for source in (
        lists(slates, "predictions", name),
        numeric_features(slates, FORMULA_PREFIX + name),
        numeric_features(slates, name),
    ):
        if not logged.all():
            values, present = _spread(source, counts)
            column, logged = np.where(logged, column, values), logged | present
    if name == "merchant" and not logged.all():
        codes = flat(slates, "merchant_id").cast(pa.string()).dictionary_encode().indices
        return to_numpy(codes).astype(np.float64), np.ones(len(column), bool)
    return column, logged


def _spread(cells: RequestLists, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(float64 [N], bool [N]: there) of lists of length 1 or n."""
    once = (cells.lengths == 1) & (counts != 1)
    full = cells.lengths == counts
    result = np.full(counts.sum(), np.nan)
    values = to_numpy(cells.values).astype(np.float64)
    result[np.repeat(full, counts)] = values[np.repeat(full, cells.lengths)]
    result[np.repeat(once, counts)] = np.repeat(values[np.repeat(once, cells.lengths)], counts[once])
    return result, np.repeat(once | full, counts)
