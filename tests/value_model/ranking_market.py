"""A tiny market whose click, order and value truths are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.spec import Feature, FeatureSpec, Group, Kind, ModelInputs
from value_model.rankers.ranker import RankingData

SPEC = FeatureSpec(
    (
        Feature("segment", Group.USER, Kind.CATEGORY, "the shopper's segment"),
        Feature("history", Group.USER, Kind.CATEGORIES, "items touched", vocabulary="item", length=3),
        Feature("age", Group.USER, Kind.NUMBER, "a number of the request"),
        Feature("item_id", Group.ITEM, Kind.CATEGORY, "the item", vocabulary="item"),
        Feature("price", Group.ITEM, Kind.NUMBER, "price", log_scale=True),
        Feature("match", Group.CROSS, Kind.NUMBER, "how well they fit"),
        Feature("trust", Group.CROSS, Kind.NUMBER, "drives orders"),
    )
)
SIZES = {"segment": 6, "item": 40}
CLICKS, PURCHASES = ("click", "order", "order_value"), ("order", "order_value")  # what data record
EXAMINATION = 1 / np.arange(1, 9) ** 0.7  # P(seen | position 1..8)


@dataclass(frozen=True)
class Market:
    data: RankingData
    ctr: np.ndarray  # P(click | shown and seen)
    cvr: np.ndarray  # P(order | click)
    mean_value: np.ndarray  # E[value | order]


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def market(
    rng: np.random.Generator, *, requests: int = 300, examined: bool = False, shared: float = 0.0, base: float = -0.5
) -> Market:
    """`shared` moves clicks and orders together through `match`: what selects clicked rows also makes them convert."""
    rows = requests * 8
    request = np.repeat(np.arange(requests, dtype=np.int32), 8)
    item = rng.integers(2, 40, rows, dtype=np.int32)
    price = np.exp(rng.normal(3, 0.6, rows))
    match, trust = rng.normal(size=(2, rows))
    ctr, cvr = sigmoid(base + match), sigmoid(-0.3 + trust + shared * match)
    position = np.concatenate([rng.permutation(8) + 1 for _ in range(requests)]).astype(np.int32)
    seen = rng.random(rows) < EXAMINATION[position - 1] if examined else np.ones(rows, bool)
    click = seen & (rng.random(rows) < ctr)
    order = click & (rng.random(rows) < cvr)
    value = price * np.exp(rng.normal(0, 0.5, rows))
    inputs = ModelInputs(
        user_codes=rng.integers(0, 6, (requests, 1), dtype=np.int32),
        user_lists=rng.integers(0, 40, (requests, 3), dtype=np.int32),
        user_numbers=rng.normal(size=(requests, 1)).astype(np.float32),
        item_codes=item[:, None],
        item_lists=np.zeros((rows, 0), np.int32),
        item_numbers=price[:, None].astype(np.float32),
        cross_codes=np.zeros((rows, 0), np.int32),
        cross_numbers=np.stack([match, trust], axis=1).astype(np.float32),
        request=request,
    )
    labels = {
        "click": click.astype(np.float32),
        "order": order.astype(np.float32),
        "order_value": np.where(order, value, 0).astype(np.float32),
    }
    data = RankingData(inputs, labels, position=position, weight=np.ones(rows, np.float32))
    return Market(data, ctr, cvr, price * np.exp(0.5**2 / 2))


def purchases(data: RankingData) -> RankingData:
    """The same rows as purchase-only data: no clicks, no positions."""
    labels = {name: data.labels[name] for name in PURCHASES}
    return RankingData(data.inputs, labels, position=np.zeros_like(data.position), weight=data.weight)


def assert_is_a_ranker(ranker, data: RankingData) -> None:  # type: ignore[no-untyped-def]
    """What every `Ranker` promises."""
    heads = ranker.predict(data.inputs)
    assert set(heads) == {*ranker.heads, "ctcvr", "gmv"}
    for name, values in heads.items():
        assert values.dtype == np.float64
        assert values.shape == data.inputs.request.shape
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert name in ("order_value", "gmv") or (values <= 1).all()
    if "ctr" in heads:
        np.testing.assert_allclose(heads["ctcvr"], heads["ctr"] * heads["cvr"])
    np.testing.assert_allclose(heads["gmv"], heads["ctcvr"] * heads["order_value"])
