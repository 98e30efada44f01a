"""A page of rows, a search and an explained slate, over the real engine: one slate a row, no item twice."""

from collections import Counter

import pytest
from test_app import post

from marketplace.memory_log import MemoryLog
from serving import payloads
from serving.app import create_app
from serving.bundle import build_engine
from serving.explanation import SlateExplanation
from serving.page_payloads import PageAnswer


@pytest.fixture(scope="module")
def engine(bundle):
    return build_engine(bundle, log=MemoryLog())


@pytest.fixture
def client(engine):
    return create_app(engine).test_client()


def home(engine, **changes):
    return {"surface": "home", "user_id": "u1", "k": 5, "time": engine.parts.known_until.isoformat()} | changes


def test_rows_of_a_page_show_no_item_twice_on_this_page_and_the_next(client, engine):
    rows = [home(engine), home(engine, k=8, explain=True), home(engine, k=3)]
    seen = Counter()
    for _ in range(3):
        answer = PageAnswer.model_validate_json(post(client, "/v1/page", {"rows": rows}).data)
        slates = [row.slate for row in answer.rows]
        assert [len(slate.items) for slate in slates] == [5, 8, 3]
        seen.update(item.item_id for slate in slates for item in slate.items)
        logged = [engine.log.slate(slate.request_id) for slate in slates]
        shown = [[name for _, name in sorted(zip(one.position, one.item_id, strict=True)) if _ > 0] for one in logged]
        assert shown == [[item.item_id for item in slate.items] for slate in slates]
        rows = [row | {"cursor": slate.cursor} for row, slate in zip(rows, slates, strict=True)]
    assert max(seen.values()) == 1
    assert seen.total() == 48
    assert [item.position for item in slates[1].items] == list(range(17, 25))  # each row goes on where it ended


def test_a_row_that_cannot_be_answered_says_why_and_the_others_stand(client, engine):
    rows = [
        home(engine, request_id="first"),
        home(engine, surface="store_page", page_merchant_id="nobody"),
        home(engine),
    ]
    answer = PageAnswer.model_validate_json(post(client, "/v1/page", {"rows": rows}).data)
    assert [row.slate is None for row in answer.rows] == [False, True, False]
    assert (answer.rows[1].problem.status, "'nobody'" in answer.rows[1].problem.detail) == (404, True)
    repeated = PageAnswer.model_validate_json(post(client, "/v1/page", {"rows": rows}).data)
    assert repeated.rows[0] == answer.rows[0]
    rows[0]["k"] = 2
    assert post(client, "/v1/page", {"rows": rows}).get_json()["rows"][0]["problem"]["status"] == 409
    for wrong, reason in (
        ([home(engine), home(engine, user_id="u2")], "are of 2 shoppers"),
        ([home(engine, request_id="a")] * 2, "the same request_id"),
        ([home(engine, time="2199-01-01T00:00:00Z")], "rows.0.time"),
    ):
        refused = post(client, "/v1/page", {"rows": wrong})
        assert (refused.status_code, reason in refused.text) == (400, True)


def test_a_search_needs_no_surface(client, engine, bundle):
    name = bundle.catalogue.items["name"][0].as_py()
    body = home(engine, query=name)
    del body["surface"]
    answer = payloads.SlateAnswer.model_validate_json(post(client, "/v1/search", body).data)
    assert (answer.surface, answer.match) == ("search", "all")
    assert post(client, "/v1/search", body | {"surface": "home"}).status_code == 400


def test_a_slate_is_explained_from_the_log(client, engine):
    sent = post(client, "/v1/recommend", home(engine, explain=True, request_id="why/so")).get_json()
    explained = SlateExplanation.model_validate_json(client.get("/v1/explain/why/so").data)
    assert explained.unexplained is None
    assert [item.rank for item in explained.items] == list(range(1, len(explained.items) + 1))
    values = [item.value for item in explained.items]
    assert values == sorted(values, reverse=True)
    terms = {item.item_id: item.contributions for item in explained.items}
    assert [terms[item["item_id"]] for item in sent["items"]] == [item["contributions"] for item in sent["items"]]
    for item in explained.items:
        assert sum(item.contributions.values()) == pytest.approx(item.value)
    assert explained.versions == sent["versions"]
    unknown = client.get("/v1/explain/never")
    assert (unknown.status_code, "'never' is in the log" in unknown.text) == (404, True)


def test_a_slate_of_a_policy_that_serves_no_more_is_shown_without_its_terms(client, engine, monkeypatch):
    post(client, "/v1/recommend", home(engine, request_id="old"))
    monkeypatch.setitem(engine.parts.versions, "policy", "another")
    explained = SlateExplanation.model_validate_json(client.get("/v1/explain/old").data)
    assert "does not serve now" in explained.unexplained
    assert explained.items[0].contributions is None
