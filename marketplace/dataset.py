"""A data set: what one market recorded, in the house's columns."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Dataset:
    """What every reader and the simulator return; tables follow `marketplace.schema`.

    `slates` (SLATE; sorted by time) are the lists that were shown: none in purchase-only data, where `feedback`
    holds orders without a request. `feedback` (FEEDBACK; sorted by time) is the one stream of everything that
    shoppers did, whether or not it answers a slate. `currency` is that of every amount.
    """

    name: str
    currency: str
    items: pa.Table
    merchants: pa.Table
    users: pa.Table
    slates: pa.Table
    feedback: pa.Table
    notes: tuple[str, ...] = ()

    @property
    def has_impressions(self) -> bool:
        """Whether lists were recorded; without them a click rate has no meaning."""
        return len(self.slates) > 0
