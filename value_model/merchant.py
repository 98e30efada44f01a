"""Merchant quantities of candidates: the columns that merchant-value formulas read.

newness = 2^(-age / half-life): 1 on the day a merchant joins, 0.5 a half-life later, 0 for those who joined long
ago or whose date is unknown. A merchant that is not in the table takes the table's median rates and newness 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from marketplace.keys import rows_of

HALF_LIFE_DAYS = 30.0
RATES = ("commission_rate", "quality", "return_rate", "refusal_rate")
NAMES = (*RATES, "newness", "merchant")


@dataclass(frozen=True)
class MerchantTable:
    """Columns over m merchants and, last, the one that stands in for unknown merchants; codes are rows of it."""

    ids: pa.Array  # string [m]
    rates: np.ndarray  # float64 [len(RATES), m + 1]
    joined: np.ndarray  # float64 [m + 1]: seconds since 1970, -inf = long ago

    @classmethod
    def from_table(cls, merchants: pa.Table) -> MerchantTable:
        """From a table of `marketplace.schema.MERCHANTS`."""
        rates = np.stack([_numbers(merchants[name]) for name in RATES])
        stand_in = np.median(rates, axis=1) if len(merchants) else np.zeros(len(RATES))
        joined = merchants["joined"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy().astype(np.float64)
        seconds = np.where(np.isnan(joined), -np.inf, joined / 1e6)
        ids = merchants["merchant_id"].cast(pa.string()).combine_chunks()
        return cls(ids, np.column_stack([rates, stand_in]), np.append(seconds, -np.inf))

    def codes(self, merchant_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """int64 [n]: the row of every merchant; the last row for the unknown."""
        rows = rows_of(merchant_ids, self.ids)
        return np.where(rows < 0, len(self.ids), rows)

    def quantities(
        self, codes: np.ndarray, *, time: datetime, half_life_days: float = HALF_LIFE_DAYS
    ) -> dict[str, np.ndarray]:
        """float64 [n] each: the rates, newness at `time` (aware), and merchant (the code, for slate_nth)."""
        return self.quantities_at(codes, seconds=np.array(time.timestamp()), half_life_days=half_life_days)

    def quantities_at(
        self, codes: np.ndarray, *, seconds: np.ndarray, half_life_days: float = HALF_LIFE_DAYS
    ) -> dict[str, np.ndarray]:
        """The same for rows of many requests: `seconds` since 1970, broadcast against the codes."""
        return {name: self.quantity(name, codes, seconds=seconds, half_life_days=half_life_days) for name in NAMES}

    def quantity(
        self, name: str, codes: np.ndarray, *, seconds: np.ndarray, half_life_days: float = HALF_LIFE_DAYS
    ) -> np.ndarray:
        """One of them."""
        if name in RATES:
            return self.rates[RATES.index(name)].take(codes)
        if name == "merchant":
            return codes.astype(np.float64)
        age_days = np.maximum(seconds - self.joined.take(codes), 0.0) / 86_400
        return np.exp2(-age_days / half_life_days)


class ItemMerchants:
    """The merchants of n items: a merchant table, and each item's row of it, int64 [n]."""

    def __init__(self, table: MerchantTable, rows: np.ndarray) -> None:
        self.table, self.rows = table, rows

    def quantities(self, items: np.ndarray, names: Iterable[str], *, time: datetime) -> dict[str, np.ndarray]:
        """float64 each: those merchant quantities of items at `time`."""
        codes, seconds = self.rows.take(items), np.array(time.timestamp())
        return {name: self.table.quantity(name, codes, seconds=seconds) for name in names}

    def joined(self, items: np.ndarray) -> np.ndarray:
        """float64: when the items' merchants joined, seconds since 1970."""
        return self.table.joined[self.rows[items]]


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float64()).to_numpy()
