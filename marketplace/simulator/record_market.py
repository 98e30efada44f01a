"""Items, merchants and shoppers as the platform's tables: what is known of them, without the hidden truth."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.schema import ITEMS, MERCHANTS, USERS, conform
from marketplace.simulator import words
from marketplace.simulator.columns import coded, constant, full_map, names, times
from marketplace.simulator.config import CURRENCY, SimulatorConfig
from marketplace.simulator.market import Market
from marketplace.simulator.shoppers import Shoppers


def item_names(count: int) -> pa.Array:
    return names("i", count, digits=6)


def merchant_names(count: int) -> pa.Array:
    return names("m", count, digits=4)


def user_names(count: int) -> pa.Array:
    return names("u", count, digits=6)


def items_table(market: Market) -> pa.Table:
    items, config = market.items, market.config
    table = pa.table(
        {
            "item_id": item_names(config.items),
            "merchant_id": coded(items.merchant, merchant_names(config.merchants)),
            "category": coded(items.category, tuple(row.name for row in words.CATEGORIES)),
            "name": titles(market),
            "price": items.price,
            "currency": constant(CURRENCY, config.items),
            "in_stock": pa.array(items.in_stock),
            "available_from": times(config.start, items.available),
            "attributes": full_map({"brand": coded(items.brand, tuple(english for english, _ in words.BRANDS))}),
        }
    )
    return conform(table, ITEMS, where="simulated items")


def merchants_table(market: Market) -> pa.Table:
    merchants, config = market.merchants, market.config
    table = pa.table(
        {
            "merchant_id": merchant_names(config.merchants),
            "country": coded(merchants.country, words.COUNTRIES),
            "plan": coded(merchants.plan, words.PLANS),
            "commission_rate": merchants.commission_rate,
            "quality": merchants.quality,
            "return_rate": merchants.return_rate,
            "refusal_rate": merchants.refusal_rate,
            "joined": times(config.start, merchants.joined),
        }
    )
    return conform(table, MERCHANTS, where="simulated merchants")


def users_table(shoppers: Shoppers, config: SimulatorConfig) -> pa.Table:
    table = pa.table(
        {
            "user_id": user_names(config.users),
            "country": coded(shoppers.country, words.COUNTRIES),
            "segment": coded(shoppers.observed_segment, words.SEGMENTS),
            "joined": times(config.start, shoppers.joined),
        }
    )
    return conform(table, USERS, where="simulated users")


def titles(market: Market) -> pa.Array:
    """Item names: English, Arabic (the noun first), or the Arabic noun with the brand in Latin letters."""
    items = market.items
    category = [_words([(row.english, row.arabic)[arabic] for row in words.CATEGORIES]) for arabic in (0, 1)]
    brand = [_words([pair[arabic] for pair in words.BRANDS]) for arabic in (0, 1)]
    attribute = [_words([pair[arabic] for pair in words.ATTRIBUTES]) for arabic in (0, 1)]
    english = _join(brand[0], items.brand, category[0], items.category, attribute[0], items.attribute)
    arabic = _join(category[1], items.category, brand[1], items.brand, attribute[1], items.attribute)
    mixed = _join(category[1], items.category, brand[0], items.brand, attribute[0], items.attribute)
    number = pa.array(100 + np.arange(len(items.brand)) * 37 % 900).cast(pa.string())
    return pc.binary_join_element_wise(pc.choose(pa.array(items.language), english, arabic, mixed), number, " ")


def _words(values: list[str]) -> pa.Array:
    return pa.array(values, pa.string())


def _join(*parts: pa.Array | np.ndarray) -> pa.Array:
    """Vocabulary and codes in turn, joined by spaces."""
    columns = [parts[place].take(pa.array(parts[place + 1])) for place in range(0, len(parts), 2)]
    return pc.binary_join_element_wise(*columns, " ")
