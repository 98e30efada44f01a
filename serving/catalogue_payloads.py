"""What a shop may write of its catalogue, and what it gets back: items and merchants, in batches.

A field that is left out stays as it is; null says that nothing is known, where a field allows it. Maps are replaced as
a whole. Every update bears its source's own version, such as a change's number or its time in milliseconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from marketplace.catalogue_records import CatalogueReceipt, CatalogueUpdate, Fate
from marketplace.schema import microseconds_of
from serving.payloads import Currency, Identifier, Label, Moment, Price, Strict, examples
from serving.request import BadRequest

ABSENT: Any = None  # a field that was left out, which `model_fields_set` tells from null
MAX_UPDATES = 1000
MAX_ENTRIES = 200  # of an attribute, number or text map
MOST = (1 << 63) - 1

Version = Annotated[int, Field(ge=0, lt=MOST, description="the source's own; an older or equal one changes nothing")]
Margin = Annotated[float, Field(ge=-10, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Title = Annotated[str, StringConstraints(max_length=2_000)]
Text = Annotated[str, StringConstraints(max_length=20_000)]
Number = Annotated[float, Field(ge=-1e12, le=1e12)]


class ItemUpdate(Strict):
    """What changed of one item; a new one needs merchant_id, category and price."""

    item_id: Identifier
    version: Version
    merchant_id: Identifier = Field(default=ABSENT, description="who sells it")
    category: Label = Field(default=ABSENT, description="the leaf category", min_length=1)
    name: Title | None = Field(default=ABSENT, description="title, any language")
    price: Price = Field(default=ABSENT, description="in the market's currency")
    currency: Currency = Field(default=ABSENT, description="ISO 4217; that of the market")
    in_stock: bool = Field(default=ABSENT, description="can be ordered; a new item is, unless it says otherwise")
    available_from: Moment | None = Field(default=ABSENT, description="launch; null = always was; a new item's: now")
    expires_at: Moment | None = Field(default=ABSENT, description="from when on it is not shown; null = never")
    hidden: bool = Field(default=ABSENT, description="taken out of sight by its seller")
    blocked: bool = Field(default=ABSENT, description="taken out of sight by the marketplace")
    margin: Annotated[float, Field(ge=-10, le=1)] | None = Field(
        default=ABSENT, description="share of the price left after cost"
    )
    attributes: dict[Label, Label | None] = Field(
        default=ABSENT, max_length=MAX_ENTRIES, description="words by name, as brand"
    )
    numeric: dict[Label, Number | None] = Field(default=ABSENT, max_length=MAX_ENTRIES, description="numbers by name")
    text: dict[Label, Text | None] = Field(default=ABSENT, max_length=MAX_ENTRIES, description="further text by name")


class MerchantUpdate(Strict):
    """What changed of one merchant; a blocked one's items are not shown."""

    merchant_id: Identifier
    version: Version
    country: Label | None = Field(default=ABSENT, description="ISO 3166 alpha-2")
    plan: Label | None = Field(default=ABSENT, description="subscription plan")
    commission_rate: Share = Field(default=ABSENT, description="platform's share of an order's value")
    quality: Share = Field(default=ABSENT, description="service quality")
    return_rate: Share = Field(default=ABSENT, description="share of orders returned")
    refusal_rate: Share = Field(default=ABSENT, description="share of cash-on-delivery orders refused")
    joined: Moment | None = Field(default=ABSENT, description="when the merchant joined; null = long ago")
    blocked: bool = Field(default=ABSENT, description="nothing of this merchant's is shown")


class ItemsRequest(Strict):
    """A batch of items, written in order."""

    model_config = examples({"items": [{"item_id": "i1", "version": 1767225600000, "price": 19.5, "in_stock": True}]})

    items: list[ItemUpdate] = Field(min_length=1, max_length=MAX_UPDATES)


class MerchantsRequest(Strict):
    """A batch of merchants, written in order."""

    model_config = examples({"merchants": [{"merchant_id": "m1", "version": 7, "commission_rate": 0.12}]})

    merchants: list[MerchantUpdate] = Field(min_length=1, max_length=MAX_UPDATES)


class Removal(Strict):
    """Which item is gone."""

    item_id: Identifier
    version: Version | None = None


class CatalogueAnswer(BaseModel):
    """What became of a batch; what was accepted is on record."""

    accepted: int = Field(description="updates that wrote something")
    stale: list[str] = Field(description="ids whose update was no newer than what is known")
    unknown: list[str] = Field(description="ids of new items without merchant_id, category or price: not written")


def item_updates(batch: ItemsRequest, *, currency: str) -> list[CatalogueUpdate]:
    """The batch as the log takes it; an item that is written is not removed.

    Raises BadRequest for a price in another currency than the market's.
    """
    for place, item in enumerate(batch.items):
        if item.currency is not None and item.currency != currency:
            message = f"this market's prices are in {currency}; {item.currency} was received. Convert first."
            raise BadRequest(f"items.{place}.currency", message)
    return [
        CatalogueUpdate(item.item_id, {**_values(item, "item_id", "currency"), "removed": False}, item.version)
        for item in batch.items
    ]


def merchant_updates(batch: MerchantsRequest) -> list[CatalogueUpdate]:
    """The batch as the log takes it."""
    return [CatalogueUpdate(one.merchant_id, _values(one, "merchant_id"), one.version) for one in batch.merchants]


def removal(item_id: str, *, version: int | None) -> CatalogueUpdate:
    """An item is gone; `version` None = whatever is known of it."""
    return CatalogueUpdate(item_id, {"removed": True}, version)


def catalogue_answer(updates: list[CatalogueUpdate], receipt: CatalogueReceipt) -> CatalogueAnswer:
    """The fate of each."""
    names = {fate: [one.name for one, met in zip(updates, receipt.fates, strict=True) if met is fate] for fate in Fate}
    return CatalogueAnswer(accepted=len(names[Fate.ACCEPTED]), stale=names[Fate.STALE], unknown=names[Fate.UNKNOWN])


def _values(update: Strict, *names: str) -> dict[str, Any]:
    """What the update names but for its version and the fields `names`, as JSON."""
    fields = sorted(update.model_fields_set - {"version", *names})
    return {name: _cell(getattr(update, name)) for name in fields}


def _cell(value: Any) -> Any:
    return microseconds_of(value) if isinstance(value, datetime) else value
