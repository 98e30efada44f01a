"""Every number of the standard features has a formula, and each does what its name says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from frames import select_requests

from features.backfill import backfill
from features.definitions import DEFINITIONS, FORMULAS, standard_spec
from features.page import PAGE, with_tables
from features.spec import FeatureSpec, Kind
from features.state import rank_in_list
from features.store import MemoryStore
from features.text.normal_form import words
from marketplace.slate import table_to_slates
from marketplace.slate_columns import flat, item_offsets

EVERYTHING = standard_spec(against_list=True, product_pages=True, sequence=True)


def test_every_number_has_a_formula_and_every_formula_a_feature():
    assert {row.feature.name for row in DEFINITIONS if row.feature.kind is Kind.NUMBER} == set(FORMULAS)
    assert len({row.feature.name for row in DEFINITIONS}) == len(DEFINITIONS)


def test_the_version_follows_the_definitions():
    assert standard_spec().version == standard_spec().version != EVERYTHING.version
    assert FeatureSpec.from_json(EVERYTHING.to_json()) == EVERYTHING


def test_the_page_lists_the_features_as_defined():
    text = PAGE.read_text()
    assert with_tables(text) == text, "run `python -m features.page`"


def test_serving_lists_are_not_compared_with_training_lists():
    names = {feature.name for feature in standard_spec().features}
    assert not names & {"price_rank", "price_to_list", "popularity_rank"}


def test_what_happens_after_a_request_changes_nothing(market):
    frame = backfill(market, market.slates, spec=EVERYTHING)
    cut = market.slates["time"][5].as_py()
    earlier_events = [time < cut for time in market.feedback["time"].to_pylist()]
    past = type(market)(**(vars(market) | {"feedback": market.feedback.filter(np.array(earlier_events))}))
    earlier = backfill(past, market.slates.slice(0, 6), spec=EVERYTHING)
    first_six = select_requests(frame, np.arange(len(market.slates)) < 6)
    for name, column in first_six.columns.items():
        assert column.equals(earlier.columns[name]) or column.to_pylist() == pytest.approx(
            earlier.columns[name].to_pylist(), nan_ok=True
        ), name


def test_ranks_in_a_list_share_the_lowest_and_keep_missing():
    ranks = rank_in_list(np.array([5.0, 1.0, 5.0, 9.0, 7.0, np.nan]), np.array([0, 4, 6]))
    assert ranks == pytest.approx([0.25, 0, 0.25, 0.75, 0, np.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, []),
        ("", []),
        ("Blue-DRESS, 2x", ["blue", "dress", "2", "x"]),
        ("Café", ["cafe"]),
        ("كِتاب أحمر", ["كتاب", "احمر"]),
    ],
)
def test_words_of_a_name(text, expected):
    assert words(text) == expected


def test_a_users_share_of_orders_is_chosen_by_name(market):
    frame = backfill(market, market.slates, spec=standard_spec(extra=("user_order_share",)))
    events = {name: frame.columns[f"user_{name}s"].to_numpy() for name in ("click", "cart", "order")}
    share = frame.columns["user_order_share"].to_numpy()
    assert share == pytest.approx(events["order"] / np.maximum(sum(events.values()), 1))
    assert 0 < share.max() <= 1


def with_ids(table, ids):
    at = table.schema.get_field_index("item_id")
    return table.set_column(at, table.schema.field(at), ids.cast(table.schema.field(at).type))


def test_items_are_ranked_by_the_numbers_that_their_ids_are(market):
    spec, slates = standard_spec(extra=("number_rank",)), market.slates
    assert np.isnan(backfill(market, slates, spec=spec).columns["number_rank"].to_numpy()).all()
    named = (ids.cast(pa.string()) for ids in (market.items["item_id"], flat(slates, "item_id")))
    items, listed = (pc.replace_substring(ids, "i", "") for ids in named)
    lists = pa.ListArray.from_arrays(pa.array(item_offsets(slates), pa.int32()), listed)
    renamed = {"items": with_ids(market.items, items), "slates": with_ids(slates, lists)}
    numbered = replace(market, **renamed)
    frame = backfill(numbered, numbered.slates, spec=spec)
    expected = []
    for row in lists.to_pylist():
        known = [int(item) for item in row if int(item) < len(items)]
        expected += [sum(one < int(i) for one in known) / len(row) if int(i) in known else np.nan for i in row]
    np.testing.assert_array_equal(frame.columns["number_rank"], np.array(expected, np.float32))
    store, slate = MemoryStore.of(numbered, spec=spec), table_to_slates(numbered.slates)[0]
    rows = store.catalogue.rows(pa.array(slate.item_id, pa.string()))
    served = store.lookup(slate, rows).frame().columns["number_rank"]
    np.testing.assert_array_equal(served, np.array(expected[: len(rows)], np.float32))
