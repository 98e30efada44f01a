"""Amounts of an export in the mapping's currency, and what an item's cost and an order line's pieces make of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

AMOUNTS = ("price", "cost", "unit_price", "amount", "merchant_value", "label.amount")


def in_currency(columns: Mapping[str, pa.Array], currency: str, rates: Mapping[str, float]) -> dict[str, pa.Array]:
    """Amounts x their currency's rate; a currency without a rate stays, for the checks to name."""
    known = pc.is_in(columns["currency"], pa.array(list(rates), pa.string()))
    if not pc.any(known).as_py():
        return dict(columns)
    index = pc.index_in(columns["currency"], pa.array(list(rates), pa.string()))
    rate = pc.coalesce(pa.array(list(rates.values()), pa.float64()).take(index), pa.scalar(1.0))
    changed = {name: pc.multiply(columns[name], rate) for name in AMOUNTS if name in columns}
    return {**columns, **changed, "currency": pc.if_else(known, currency, columns["currency"])}


def with_margin(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """margin = (price - cost) / price where it is not written; null without a cost or a price."""
    rest = {name: values for name, values in columns.items() if name != "cost"}
    if "cost" not in columns:
        return rest
    price = pc.if_else(pc.greater(columns["price"], 0.0), columns["price"], None)
    margin = pc.divide(pc.subtract(price, columns["cost"]), price)
    return rest | {"margin": pc.coalesce(columns.get("margin", pa.nulls(len(price), pa.float64())), margin)}


def with_amount(columns: Mapping[str, pa.Array], price: pa.Array) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Order lines with their amount, and bool [n] where one of a negative quantity takes back what was ordered.

    amount = |quantity| x unit price where it is not written; the unit price is the item's, `price`, where none is.
    """
    rest = {name: values for name, values in columns.items() if name not in ("quantity", "unit_price")}
    event, quantity = columns["event"], columns.get("quantity")
    if quantity is None and "unit_price" not in columns:
        return rest, np.zeros(len(event), bool)
    pieces = pa.array(np.ones(len(event))) if quantity is None else quantity
    ordered = pc.is_in(event, pa.array(["order", "return"]))
    amount = pc.multiply(pc.abs(pieces), pc.coalesce(columns.get("unit_price", price), price))
    back = pc.and_(pc.equal(event, "order"), pc.less(pieces, 0.0)).fill_null(False)
    written = columns.get("amount", pa.nulls(len(event), pa.float64()))
    written = pc.if_else(back, pc.abs(written), written)
    rest["amount"] = pc.coalesce(written, pc.if_else(ordered, amount, None))
    rest["event"] = pc.if_else(back, "return", event)
    return rest, back.to_numpy(zero_copy_only=False)
