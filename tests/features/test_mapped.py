"""Mapped features: what a mapping names is an input, the same in training and in serving."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from features.backfill import backfill
from features.definitions import standard_spec
from features.encoder import BUCKETS, LIMIT, Encoder
from features.mapped import MappedFeatures, context_entries, mapped_features
from features.spec import Feature, FeatureFrame, FeatureSpec, Group, Kind, Source
from features.store import MemoryStore
from marketplace.datasets.own import read_own
from marketplace.slate import table_to_slates

MAPPING = """
name = "hotels"
currency = "SAR"
ignore = ["rank"]
[items]
file = "items.csv"
columns = { item_id = "item", merchant_id = "merchant", price = "price" }
numeric = { stars = "stars" }
categorical = { chain = "chain" }
text = { blurb = "blurb" }
[users]
file = "users.csv"
columns = { user_id = "user" }
numeric = { visits = "visits" }
categorical = { tier = "tier" }
[slates]
file = "shown.csv"
columns = { request_id = "request", time = "time", user_id = "user", item_id = "item" }
numeric = { distance = "distance", rank = "rank", same = "same" }
categorical = { room = "room", offer = "offer" }
request_numeric = { adults = "adults" }
context = { device = "device" }
[feedback]
file = "events.csv"
columns = { request_id = "request", event = "event", time = "time", user_id = "user", item_id = "item" }
"""
USED = {"stars", "chain", "blurb", "visits", "tier", "distance", "room", "adults"}


@pytest.fixture(scope="module")
def hotels(tmp_path_factory):
    """40 requests of 6 shoppers for 3 of 8 hotels; one shopper is not in the table of shoppers."""
    folder, rng = tmp_path_factory.mktemp("hotels"), np.random.default_rng(0)

    def write(name, head, rows):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([head, *rows])

    items = [[f"i{n}", "m", 100 + n, n % 5 or "", f"chain {n % 3}", f"quiet rooms {n % 2}"] for n in range(8)]
    write("items.csv", ["item", "merchant", "price", "stars", "chain", "blurb"], items)
    write("users.csv", ["user", "visits", "tier"], [[f"u{n}", n * n, "gold" if n % 2 else "plain"] for n in range(5)])
    shown = []
    for request in range(40):
        time, adults, device = f"2026-01-01T{request % 24:02d}:{request:02d}:00Z", request % 3 or "", "app"
        for place, item in enumerate(rng.choice(8, 3, replace=False)):
            distance, room = round(rng.random(), 3), ["single", "double", ""][rng.integers(3)]
            own = [distance, place, 1, room, f"offer {request}-{place}"]
            shown.append([f"r{request}", time, f"u{request % 6}", f"i{item}", *own, adults, device])
    head = ["request", "time", "user", "item", "distance", "rank", "same", "room", "offer", "adults", "device"]
    write("shown.csv", head, shown)
    events = [[row[0], "click", row[1].replace("0Z", "9Z"), *row[2:4]] for row in shown[::4]]
    write("events.csv", ["request", "event", "time", "user", "item"], events)
    (folder / "mapping.toml").write_text(MAPPING)
    return read_own(folder / "mapping.toml")


def spec_of(dataset):
    return mapped_features(dataset).added_to(standard_spec(context=context_entries(dataset)))


def test_what_is_mapped_is_a_feature_and_what_is_not_has_its_reason(hotels):
    mapped = mapped_features(hotels)
    assert {feature.name for feature in mapped.features} == USED
    sources = {feature.name: feature.source for feature in mapped.features}
    assert (sources["adults"], sources["room"], sources["tier"]) == (Source.REQUEST, Source.CANDIDATE, Source.SHOPPER)
    assert mapped.unused["rank"] == "named under `ignore`"
    assert mapped.unused["same"] == "the same in every row"
    assert mapped.unused["offer"].startswith("identifiers: 120 different words")


def test_texts_that_all_differ_are_read_for_their_words_unless_these_name_rows_too(hotels):
    at = hotels.items.column_names.index("text")
    kind, rows = hotels.items["text"].type, len(hotels.items) * 4
    told = [[("blurb", f"{('quiet', 'grand')[n % 2]} rooms no {n}"), ("code", f"x{n}")] for n in range(rows)]
    items = pa.concat_tables([hotels.items] * 4).set_column(at, "text", pa.array(told, kind))
    mapped = mapped_features(replace(hotels, items=items))
    assert "blurb" in {feature.name for feature in mapped.features}
    assert mapped.unused["code"] == "identifiers: 32 different words in 32 rows"


def test_features_named_by_the_mapping_are_the_only_ones(hotels):
    chosen = replace(hotels, mapped_features=("stars",))
    assert [feature.name for feature in mapped_features(chosen).features] == ["stars"]
    assert context_entries(chosen) == ()


def test_a_mapped_name_of_a_standard_feature_is_refused_with_another():
    mapped = Feature("price", Group.CROSS, Kind.NUMBER, "", source=Source.CANDIDATE)
    with pytest.raises(ValueError, match="shop_price"):
        MappedFeatures((mapped,)).added_to(standard_spec())


def test_serving_knows_of_mapped_features_what_training_knew(hotels):
    spec = spec_of(hotels)
    assert FeatureSpec.from_json(spec.to_json()) == spec
    frame = backfill(hotels, hotels.slates, spec=spec)
    encoder = Encoder.fit(frame)
    batch = encoder.encode(frame)
    store = MemoryStore.of(hotels, spec=spec, until=hotels.slates["time"][0].as_py())
    for number, slate in enumerate(table_to_slates(hotels.slates)):
        user = store.lookup(slate, np.empty(0, np.int32))
        now = store.lookup(slate, store.catalogue.rows(hotels.slates["item_id"][number].values), snapshot=user)
        rows = batch.request == number
        for name in USED:
            expected, received = frame.columns[name], now.frame().columns[name]
            kept = expected.slice(number, 1) if len(expected) == len(hotels.slates) else expected.filter(rows)
            assert str(received.to_pylist()) == str(kept.to_pylist()), name
        assert np.array_equal(now.cross_codes(encoder), batch.cross_codes[rows])
    assert {0, 2, 3} <= set(batch.cross_codes.ravel().tolist())


def test_words_beyond_the_limit_share_codes_by_their_hash():
    room = Feature("room", Group.CROSS, Kind.CATEGORY, "", source=Source.CANDIDATE)
    names = pa.array([f"n{n}" for n in range(LIMIT + 500)])
    encoder = Encoder.fit(FeatureFrame(FeatureSpec((room,)), np.array([0, len(names)]), {"room": names}))
    encoder = Encoder.from_json(encoder.to_json())
    assert encoder.sizes["room"] == 2 + LIMIT + BUCKETS
    codes = encoder.codes(room, pa.array([*names.to_pylist(), "new", None]))
    assert codes[-1] == 0
    assert codes[-2] == encoder.code(room, "new") >= 2 + LIMIT
    assert (codes >= 2 + LIMIT).sum() == 501
    assert codes.max() < encoder.sizes["room"]
