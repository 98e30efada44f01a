"""Merchant exposure as the policy file promises it: shadow prices, learned from the log and used by the next requests.

A price changes with every slate, so that all workers must see the same slates in the same order: that of their arrival
in the log. One that starts again reads them again, and has the same prices.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.log import SHOWN
from marketplace.slate_columns import flat, item_offsets, shown, to_numpy
from serving.item_table import ItemTable
from serving.manifest import BundleError
from value_model.slate_policies.shadow_prices import ExposurePromises, ShadowPrices, merit_share

READ = (*SHOWN, "merchant_id", "value", "page_merchant_id", "policy_version")  # columns of a slate


class Pacing:
    """The shadow prices of one policy, whose slates are logged with `version`, over the merchants of one catalogue."""

    def __init__(self, section: ExposurePromises, item_table: ItemTable, *, version: str) -> None:
        """Raises BundleError for a guarantee to a merchant who sells nothing in the catalogue."""
        self._version, self._fair, self._item_table = version, section.fair, item_table
        if unknown := [name for name, _ in section.guaranteed if name not in item_table.merchant_code]:
            raise BundleError(
                f"the value policy guarantees exposure to {unknown}, who sell nothing in the catalogue. "
                "Correct the merchant ids under slate.exposure, or take them out."
            )
        self._others = len(item_table.merchant_code)  # stands for merchants of other catalogues, and who begin later
        target = np.zeros(self._others + 1)
        for name, share in section.guaranteed:
            target[item_table.merchant_code[name]] = share
        self._prices = ShadowPrices(target, rate=section.rate, most=section.highest_price)

    @property
    def prices(self) -> np.ndarray:
        """float64 [merchants + 1]: the prices themselves."""
        return self._prices.price

    def price(self, rows: np.ndarray) -> np.ndarray:
        """float32 [n]: what is added now to the values of catalogue rows."""
        merchant = np.minimum(self._item_table.merchant[rows], self._others)
        return self._prices.worth(merchant).astype(np.float32)

    def learn(self, slates: pa.Table) -> None:
        """From this policy's slates (columns READ, in order of arrival); store pages, of one merchant, do not count."""
        counted = pc.and_(pc.equal(slates["policy_version"], self._version), pc.is_null(slates["page_merchant_id"]))
        slates = slates.filter(counted)
        merchant, value, on_page = self._codes(slates), to_numpy(flat(slates, "value")), shown(slates)
        for start, stop in pairwise(item_offsets(slates).tolist()):
            self._observe(merchant[start:stop], value[start:stop], on_page[start:stop])

    def _observe(self, merchant: np.ndarray, value: np.ndarray, on_page: np.ndarray) -> None:
        target = self._prices.target
        if self._fair:
            slack, count = 1.0 - self._fair, len(target)
            target = np.maximum(target, merit_share(value, merchant, merchants=count, k=len(value), slack=slack))
        self._prices.observe(merchant[on_page], target=target)

    def _codes(self, slates: pa.Table) -> np.ndarray:
        """int32 [N]: the merchants of all items."""
        names = flat(slates, "merchant_id").cast(pa.dictionary(pa.int32(), pa.string()))
        known, others = self._item_table.merchant_code, self._others
        code = np.array([min(known.get(name, others), others) for name in names.dictionary.to_pylist()], np.int32)
        return code[names.indices.to_numpy(zero_copy_only=False)]
