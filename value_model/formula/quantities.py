"""What a formula may speak of without declaring it: heads, item and merchant quantities, with unit and range."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

from marketplace.finding import Where
from marketplace.heads import HEADS, Head, HeadKind


class Sign(StrEnum):
    """Which way the value must go when the quantity grows, or which sign a weight must have."""

    PLUS = "+"
    MINUS = "-"
    ANY = "any"


@dataclass(frozen=True)
class Quantity:
    """A named input column; `low` and `high` bound what is plausible, `head` = a model predicts it.

    `missing` is what stands for a value that is not known (NaN); None = the item's value is then not known either.
    """

    name: str
    unit: str
    low: float
    high: float
    sign: Sign = Sign.ANY
    meaning: str = ""
    head: bool = False
    missing: float | None = None
    where: Where = field(default=Where("standard quantities"), compare=False, repr=False)


def _prediction(head: Head) -> Quantity:
    high = 1e4 if head.kind is HeadKind.MONEY else 1.0
    low = -high if head.signed else 0.0
    return Quantity(head.name, head.unit, low, high, Sign(head.sign), head.meaning, head=True)


def _share(name: str, sign: Sign, meaning: str) -> Quantity:
    return Quantity(name, "1", 0.0, 1.0, sign, meaning)


_ALL = (
    *map(_prediction, HEADS),
    Quantity("price", "currency / order", 0.0, 1e5, Sign.ANY, "price as shown"),
    Quantity("margin", "1", -1.0, 1.0, Sign.PLUS, "share of the price left after the item's cost", missing=0.0),
    _share("commission_rate", Sign.PLUS, "platform's share of an order's value"),
    _share("quality", Sign.PLUS, "merchant's service quality"),
    _share("return_rate", Sign.MINUS, "share of the merchant's orders returned"),
    _share("refusal_rate", Sign.MINUS, "share of cash-on-delivery orders refused"),
    _share("newness", Sign.PLUS, "1 = the merchant joined today, 0 = long ago"),
    Quantity("merchant", "1", 0.0, 1e6, Sign.ANY, "the merchant's code, for slate_nth"),
    Quantity("merchant_value", "currency / impression", -100.0, 1e4, Sign.ANY, "worth of showing the merchant"),
    Quantity("retrieval_score", "1", -1e3, 1e3, Sign.ANY, "the candidate source's score"),
)
STANDARD: Mapping[str, Quantity] = {quantity.name: quantity for quantity in _ALL}
