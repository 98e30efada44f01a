"""Vocabularies come from training rows alone, and codes mean what the conventions say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from feature_market import random_market
from frames import select_inputs, select_requests

from features.backfill import backfill
from features.definitions import standard_spec
from features.encoder import Encoder
from features.grown_tables import grown_tables
from features.hidden_ids import with_hidden_ids
from features.spec import FeatureFrame, FeatureSpec, Group, categories, category, number

SPEC = FeatureSpec(
    (
        category(Group.USER, "city", "a city"),
        categories(Group.USER, "history", "items", vocabulary="item", length=2),
        category(Group.ITEM, "item_id", "an item", vocabulary="item"),
        number(Group.CROSS, "distance", "km"),
    )
)


def frame(city, history, items):
    columns = {
        "city": pa.array(city, pa.string()),
        "history": pa.array(history, pa.list_(pa.string())),
        "item_id": pa.array([item for row in items for item in row], pa.string()).dictionary_encode(),
        "distance": pa.array(np.arange(sum(map(len, items)), dtype=np.float32)),
    }
    return FeatureFrame(SPEC, np.append(0, np.cumsum([len(row) for row in items])), columns)


DATA = frame(["x", "", None, "y"], [["a", "b", "c"], [], None, ["z"]], [["a", "b"], ["a"], [None], ["new", "a"]])


def test_codes_of_known_unknown_and_missing():
    encoder = Encoder.fit(DATA, requests=np.array([True, True, True, False]))
    assert encoder.vocabularies == {"city": ("x",), "item": ("a", "b", "c")}  # a three times, b twice, c once
    assert encoder.sizes == {"city": 3, "item": 5}
    inputs = encoder.encode(DATA)
    assert inputs.user_codes.tolist() == [[2], [0], [0], [1]]
    assert inputs.user_lists.tolist() == [[3, 4], [0, 0], [0, 0], [1, 0]]  # the last two of a, b, c
    assert inputs.item_codes.tolist() == [[2], [3], [2], [0], [1], [2]]
    assert inputs.cross_numbers.ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert inputs.request.tolist() == [0, 0, 1, 2, 3, 3]


def test_rare_names_stay_unknown():
    assert Encoder.fit(DATA, min_count=2).vocabularies == {"city": (), "item": ("a", "b")}
    offers = Encoder.fit(DATA, min_count=2, offer_min_count=1)
    assert offers.vocabularies == {"city": (), "item": ("a", "b", "c", "new", "z")}  # the unknown is a newcomer's alone


def test_test_rows_cannot_change_the_codes():
    train = np.array([True, True, False, False])
    other = frame(["x", "", "Q", "Q"], [["a", "b", "c"], [], ["Q"], ["Q"]], [["a", "b"], ["a"], ["Q"], ["Q", "Q"]])
    assert Encoder.fit(DATA, requests=train).to_json() == Encoder.fit(other, requests=train).to_json()


def test_json_keeps_the_encoder():
    market = random_market(np.random.default_rng(3))
    data = backfill(market, market.slates, spec=standard_spec())
    encoder = Encoder.fit(data)
    again = Encoder.from_json(encoder.to_json())
    assert again.spec.version == encoder.spec.version
    for ours, theirs in zip(vars(again.encode(data)).values(), vars(encoder.encode(data)).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_selecting_before_or_after_encoding_is_the_same():
    encoder = Encoder.fit(DATA)
    chosen = np.array([False, True, False, True])
    before, after = encoder.encode(select_requests(DATA, chosen)), select_inputs(encoder.encode(DATA), chosen)
    for name in vars(before):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name), err_msg=name)


def test_a_share_of_ids_is_hidden_and_a_merchants_items_with_it():
    columns = tuple(category(Group.ITEM, name, name) for name in ("item_id", "category", "merchant_id"))
    codes = np.tile(np.array([7, 8, 9], np.int32), (10_000, 1))
    codes[:100, 2] = 0  # sold by nobody that is known
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(with_hidden_ids(codes, columns, share=0.0, rng=rng), codes)
    hidden = with_hidden_ids(codes, columns, share=0.2, rng=rng)
    item, kind, merchant = (hidden == 1).T
    assert not kind.any()
    assert (hidden[:100, 2] == 0).all()
    np.testing.assert_allclose(merchant[100:].mean(), 0.2, atol=0.02)
    np.testing.assert_allclose(item.mean(), 1 - 0.8**2, atol=0.02)
    assert item[merchant].all()


def test_a_grown_encoder_keeps_every_code_and_its_new_names_start_as_they_were_taken():
    names = {"city": ("x", "y"), "item": ("a", "b", "c")}
    before = Encoder(SPEC, names, {"city": 3})
    later = Encoder(SPEC, {"city": ("y", "z"), "item": ("d", "b", "e")}, {})
    now = before.grown(later)
    assert now.vocabularies == {"city": ("x", "y"), "item": ("a", "b", "c", "d", "e")}  # buckets: full
    assert now.sizes == {"city": 7, "item": 7}
    weights = {"000 table_item": np.arange(10.0).reshape(5, 2), "001 table_city": np.arange(7.0)[:, None], "002 w": 1}
    grown = grown_tables(weights, before, now)
    np.testing.assert_array_equal(grown["000 table_item"][:, 0], [0, 2, 4, 6, 8, 2, 2])  # d and e: the unknown's row
    np.testing.assert_array_equal(grown["001 table_city"], weights["001 table_city"])
    assert grown["002 w"] == 1
    wide = Encoder(SPEC, names, {}).grown(Encoder(SPEC, later.vocabularies, {"item": 2}))
    np.testing.assert_array_equal(wide.codes_in(before, "item"), [0, 1, 2, 3, 4, 1, 1, 1, 1])  # new buckets: unknown
    with pytest.raises(ValueError, match=r"other features: distance\.$"):
        before.grown(Encoder(FeatureSpec(SPEC.features[:3]), names))
