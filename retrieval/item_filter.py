"""Item filter: which items may be shown, by category, merchant, price and attributes; of a surface, or of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from pydantic import Field

from marketplace.finding import FieldError, nearest
from marketplace.toml_model import Fix

MOST_NAMES = 1000

Names = Annotated[tuple[str, ...], Field(max_length=MOST_NAMES)]
Price = Annotated[float, Field(ge=0, le=1e12), Fix("Write a price, 0 or more.")]


class UnknownWord(LookupError):
    """A filter names a category, merchant, attribute or value that no item of the catalogue has."""


@dataclass(frozen=True, eq=False)
class FilterColumns:
    """What filters read of n items: int32 codes [n] by column, `code` of each word by column, prices float64 [n]."""

    codes: Mapping[str, np.ndarray]
    code: Mapping[str, Mapping[str, int]]
    price: np.ndarray


@dataclass(frozen=True)
class ItemFilter:
    """All conditions hold at once; within `categories`, `merchants` and an attribute's values one must; none = any.

    Prices are in the data's currency, both ends included.
    """

    categories: Names = ()
    merchants: Names = ()
    price_from: Price | None = None
    price_to: Price | None = None
    attributes: Annotated[dict[str, Names], Field(max_length=20)] = field(default_factory=dict)
    without_categories: Names = ()
    without_merchants: Names = ()

    def __post_init__(self) -> None:
        if self.price_from is not None and self.price_to is not None and self.price_from > self.price_to:
            reason = f"has price_from {self.price_from:g} above price_to {self.price_to:g}"
            raise FieldError(reason, "Give the lower price first.", key="price_from")

    def __bool__(self) -> bool:
        return self != NO_FILTER

    def check(self, items: FilterColumns) -> None:
        """Raises UnknownWord for any word that no item has."""
        self.mask(items)
        for column, words in (("category", self.without_categories), ("merchant", self.without_merchants)):
            _codes(items, column, words)

    def mask(self, items: FilterColumns) -> np.ndarray | None:
        """bool [n]: the items that pass; None where nothing is asked.

        Raises UnknownWord for what is asked for and no item has; to leave out what nobody has is no mistake.
        """
        if not self:
            return None
        passing = np.ones(len(items.price), bool)
        named = [("category", self.categories), ("merchant", self.merchants), *self.attributes.items()]
        for column, words in named:
            codes = _codes(items, column, words)
            if words:
                passing &= _among(items, column, codes)
        for column, words in {"category": self.without_categories, "merchant": self.without_merchants}.items():
            if words:
                known = items.code[column]
                passing &= ~_among(items, column, [known[word] for word in words if word in known])
        if self.price_from is not None:
            passing &= items.price >= self.price_from
        if self.price_to is not None:
            passing &= items.price <= self.price_to
        return passing


NO_FILTER = ItemFilter()


def _codes(items: FilterColumns, column: str, words: tuple[str, ...]) -> list[int]:
    if column not in items.codes:
        raise UnknownWord(f"items have no attribute {column!r}. {nearest(column, sorted(items.codes))}")
    known = items.code[column]
    if unknown := [word for word in words if word not in known]:
        raise UnknownWord(f"no item has the {column} {unknown[0]!r}. {nearest(unknown[0], list(known), listed=10)}")
    return [known[word] for word in words]


def _among(items: FilterColumns, column: str, codes: list[int]) -> np.ndarray:
    """bool [n]: the items with one of the codes in a column."""
    known = items.codes[column]
    wanted = np.zeros(max(int(known.max(initial=-1)), *codes, -1) + 2, bool)  # the last: of what is not known, -1
    wanted[codes] = True
    return wanted[known]
