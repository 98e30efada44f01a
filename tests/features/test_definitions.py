"""Every number of the standard features has a formula, and each does what its name says."""

from __future__ import annotations

import numpy as np
import pytest
from frames import select_requests

from features.backfill import backfill
from features.definitions import DEFINITIONS, FORMULAS, standard_spec
from features.page import PAGE, with_tables
from features.spec import FeatureSpec, Kind
from features.state import rank_in_list
from features.text.normal_form import words

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
