"""A small untrained ranker whose every weight is random, so that every input matters to every head."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.encoder import FIRST, Encoder
from features.spec import Feature, FeatureSpec, Group, Kind, Source
from marketplace.heads import learned_heads
from value_model.rankers.config import NetworkConfig
from value_model.rankers.network_ranker import NetworkRanker

SPEC = FeatureSpec(
    (
        Feature("country", Group.USER, Kind.CATEGORY, "where"),
        Feature("history", Group.USER, Kind.CATEGORIES, "items touched", vocabulary="item", length=5),
        Feature("orders", Group.USER, Kind.NUMBER, "orders so far", log_scale=True),
        Feature("item", Group.ITEM, Kind.CATEGORY, "the item", vocabulary="item"),
        Feature("words", Group.ITEM, Kind.CATEGORIES, "its name", length=3),
        Feature("price", Group.ITEM, Kind.NUMBER, "its price", log_scale=True),
        Feature("quality", Group.ITEM, Kind.NUMBER, "of its merchant"),
        Feature("غرفة", Group.CROSS, Kind.CATEGORY, "offered", vocabulary="room", source=Source.CANDIDATE),
        Feature("pair", Group.CROSS, Kind.NUMBER, "clicks of this user on the item", log_scale=True),
        Feature("recent", Group.CROSS, Kind.NUMBER, "touched last"),
    )
)
SIZES = {"country": 6, "item": 50, "words": 40, "room": 7}
SMALL = NetworkConfig(embedding=4, bins=4, experts=2, expert_units=(8, 6), tower_units=5, positions=10)


def small_ranker(
    *, click: bool = True, seed: int = 0, spec: FeatureSpec = SPEC, sizes: Mapping[str, int] = SIZES, config=SMALL
) -> NetworkRanker:
    rng = np.random.default_rng(seed)
    heads = learned_heads(("order", "order_value", *["click"] * click))
    ranker = NetworkRanker(spec, sizes, config=config, heads=heads, rng=rng)
    kept = ("mean", "deviation", "low", "span", "log_value")
    for variable in ranker.network.variables:
        if not variable.name.split(":")[0].split("/")[-1].startswith(kept):
            variable.assign(rng.normal(0, 0.3, variable.shape).astype(np.float32))
    return ranker


def small_encoder(*, spec: FeatureSpec = SPEC, sizes: Mapping[str, int] = SIZES) -> Encoder:
    """The names behind a small ranker's codes: item0, item1, ..."""
    return Encoder(spec, {table: tuple(f"{table}{n}" for n in range(size - FIRST)) for table, size in sizes.items()})
