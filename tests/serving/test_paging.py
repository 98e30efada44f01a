"""Pages and filters of the engine: no repeats whatever happens in between, k items whenever k may be shown."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_engine import ask

from marketplace.memory_log import MemoryLog
from retrieval.item_filter import ItemFilter
from serving.answers import slate_answer
from serving.availability import Hindrance
from serving.bundle import build_engine
from serving.payloads import RecommendRequest
from serving.replay import replay
from serving.request import BadRequest, UnknownName

NUMBER = count()


@pytest.fixture(scope="module")
def engine(bundle):
    return build_engine(bundle, log=MemoryLog())


def page(engine, market, surface="home", **changes):
    """(the items shown, the cursor for the next page) of a request under a name of its own."""
    return shown_on(engine.rank(ask(market, surface, request_id=f"page {next(NUMBER)}", **changes)))


def shown_on(ranking):
    answer = slate_answer(ranking, contributions=None)
    return [item["item_id"] for item in answer["items"]], answer["cursor"]


def touched(market, engine, items):
    """What a shopper clicked, as feedback."""
    event = market.dataset.feedback.slice(0, 1).to_pylist()[0]
    rows = [event | {"feedback_id": f"click {next(NUMBER)}", "event": "click", "item_id": item} for item in items]
    schema = market.dataset.feedback.schema
    import pyarrow as pa

    engine.record(pa.Table.from_pylist(rows, schema=schema))


@settings(max_examples=12, deadline=None)
@given(
    surface=st.sampled_from(["home", "search", "store_page", "product_page"]),
    lengths=st.lists(st.integers(1, 30), min_size=2, max_size=5),
    clicks=st.integers(0, 3),
    stock=st.randoms(use_true_random=False),
)
def test_no_page_repeats_an_earlier_one_though_the_market_moves(engine, market, surface, lengths, clicks, stock):
    stock_of = engine.live.parts.availability
    before, seen, cursor = stock_of.hindrances.copy(), [], None
    try:
        for k in lengths:
            ranking = engine.rank(ask(market, surface, request_id=f"page {next(NUMBER)}", k=k, cursor=cursor))
            shown, cursor = shown_on(ranking)
            positions = [item["position"] for item in slate_answer(ranking, contributions=None)["items"]]
            assert positions == list(range(len(seen) + 1, len(seen) + len(shown) + 1))
            assert replay(engine.parts, engine.log.slate(ranking.slate.request_id)).same
            seen += shown
            assert (cursor is not None) == (len(shown) == k)
            touched(market, engine, shown[:clicks])
            moved = np.unique([stock.randrange(len(before)) for _ in range(20)])
            stock_of.put(Hindrance.OUT_OF_STOCK, moved, stock_of.hindrances[moved] == 0)
            stock_of.changed()
            if cursor is None:
                break
        assert len(set(seen)) == len(seen)
    finally:
        stock_of.hindrances[:] = before
        stock_of.changed()


def test_a_list_ends_when_everything_was_shown(engine, market):
    """The pages of a store together are its items in stock, each once."""
    items = market.dataset.items.to_pylist()
    merchant = items[0]["merchant_id"]
    stocked = {item["item_id"] for item in items if item["merchant_id"] == merchant and item["in_stock"]}
    seen, cursor = [], None
    for _ in range(len(stocked) // 7 + 1):
        shown, cursor = page(engine, market, "store_page", k=7, cursor=cursor)
        seen += shown
    assert sorted(seen) == sorted(stocked)
    assert cursor is None


def test_a_cursor_is_of_its_shopper_and_its_list_alone(engine, market):
    _, cursor = page(engine, market)
    with pytest.raises(UnknownName, match="is not of an answer to this shopper"):
        page(engine, market, user_id="somebody else", cursor=cursor)
    with pytest.raises(UnknownName, match="'made up' is not of an answer"):
        page(engine, market, cursor="made up")
    with pytest.raises(BadRequest, match="is of a list with surface 'home', 'search' was received"):
        page(engine, market, "search", cursor=cursor)


def test_a_callers_context_cannot_stand_in_for_what_the_service_writes(engine, market):
    context = {"cursor": "made up", "filters": "{}", "country": "SA"}
    _, cursor = page(engine, market, context=context)
    assert set(context) & set(engine.log.slate(cursor).context) == {"country"}
    page(engine, market, cursor=cursor)


def test_a_list_of_too_many_pages_is_refused(engine, market, monkeypatch):
    monkeypatch.setattr("serving.paging.MOST_PAGES", 2)
    cursor = None
    for _ in range(2):
        _, cursor = page(engine, market, k=1, cursor=cursor)
    with pytest.raises(BadRequest, match="continues 2 slates already"):
        page(engine, market, k=1, cursor=cursor)


def passing(market, filters):
    """The ids of launched items in stock that pass, read off the tables."""
    words = [dict(cells or ()) for cells in market.dataset.items["attributes"].to_pylist()]
    for item, attributes in zip(market.dataset.items.to_pylist(), words, strict=True):
        if (
            item["in_stock"]
            and (item["available_from"] is None or item["available_from"] <= market.known_until)
            and (not filters.categories or item["category"] in filters.categories)
            and (not filters.merchants or item["merchant_id"] in filters.merchants)
            and (filters.price_from is None or item["price"] >= filters.price_from)
            and (filters.price_to is None or item["price"] <= filters.price_to)
            and all(attributes.get(name) in allowed for name, allowed in filters.attributes.items())
            and item["category"] not in filters.without_categories
            and item["merchant_id"] not in filters.without_merchants
        ):
            yield item["item_id"]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_k_items_that_pass_are_shown_whenever_k_pass(engine, market, data):
    items = market.dataset.items
    words = {name: sorted(set(items[name].to_pylist())) for name in ("category", "merchant_id")}
    some = {name: st.lists(st.sampled_from(values), max_size=3).map(tuple) for name, values in words.items()}
    prices = sorted(data.draw(st.lists(st.floats(1, 3000), min_size=2, max_size=2)))
    filters = ItemFilter(
        categories=data.draw(some["category"]),
        merchants=data.draw(some["merchant_id"]),
        price_from=data.draw(st.sampled_from([None, prices[0]])),
        price_to=data.draw(st.sampled_from([None, prices[1]])),
        without_categories=data.draw(some["category"]),
        without_merchants=data.draw(some["merchant_id"]),
    )
    surface, k = data.draw(st.sampled_from(["home", "product_page"])), data.draw(st.integers(1, 40))
    request = ask(market, surface, request_id=f"page {next(NUMBER)}", k=k, filters=filters)
    slate = engine.rank(request).slate
    shown, wanted = slate.item_id[slate.position > 0], set(passing(market, filters)) - {request.page_item_id}
    assert set(shown) <= wanted
    assert len(shown) == min(k, len(wanted))
    logged = json.loads(slate.context.get("filters", "{}"))
    assert logged.get("merchants", []) == list(filters.merchants)
    assert replay(engine.parts, slate).same


def test_attributes_are_filtered_and_what_no_item_has_is_named_with_what_is_near(engine, market):
    table = engine.parts.item_table
    name = next(name for name in table.code if name not in ("merchant", "category"))
    word = next(iter(table.code[name]))
    filters = ItemFilter(attributes={name: (word,)})
    shown, _ = page(engine, market, k=30, filters=filters)
    assert set(shown) <= set(passing(market, filters))
    assert shown
    with pytest.raises(UnknownName, match=f"no item has the {name} .*Did you mean"):
        page(engine, market, filters=ItemFilter(attributes={name: (word + "x",)}))
    with pytest.raises(UnknownName, match="no item has the merchant 'nobody'"):
        page(engine, market, filters=ItemFilter(merchants=("nobody",)))
    page(engine, market, filters=ItemFilter(without_merchants=("nobody",)))


def test_a_recipe_narrows_its_surface_and_no_other(bundle, market):
    category = market.dataset.items["category"][0].as_py()
    home = replace(bundle.recipes.home, filters=ItemFilter(categories=(category,)))
    narrowed = build_engine(replace(bundle, recipes=replace(bundle.recipes, home=home)), log=MemoryLog())
    allowed = set(passing(market, home.filters))
    assert set(page(narrowed, market)[0]) <= allowed
    assert not set(page(narrowed, market, "search")[0]) <= allowed
    wrong = replace(bundle.recipes.home, filters=ItemFilter(without_categories=("nothing",)))
    with pytest.raises(ValueError, match="no item has the category 'nothing'"):
        build_engine(replace(bundle, recipes=replace(bundle.recipes, home=wrong)), log=MemoryLog())


def test_a_payload_becomes_the_engines_filter():
    body = {
        "surface": "home",
        "user_id": "u",
        "filters": {"categories": ["a"], "price_to": 9.5, "attributes": {"brand": ["x", "y"]}},
        "exclude_merchants": ["m"],
        "cursor": "r1",
    }
    request = RecommendRequest(**body).to_request(request_id="r2", now=None, spec=None)
    expected = ItemFilter(("a",), (), None, 9.5, {"brand": ("x", "y")}, (), ("m",))
    assert (request.filters, request.cursor) == (expected, "r1")
    for wrong in ({"price_from": 3.0, "price_to": 1.0}, {"price_from": float("nan")}, {"colour": ["red"]}):
        with pytest.raises(ValueError, match=r"price_from|colour"):
            RecommendRequest(**body | {"filters": wrong})
    assert not np.isnan(request.filters.price_to)
