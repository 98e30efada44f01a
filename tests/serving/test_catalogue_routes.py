"""The catalogue's routes over the real engine: what callers may write, what they get back, and what is refused."""

from datetime import UTC, datetime

import orjson
import pytest

from marketplace.memory_log import MemoryLog
from serving.app import create_app
from serving.bundle import build_engine
from serving.keys import KeyRing

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEW = {"item_id": "new", "version": 1, "merchant_id": "m new", "category": "tea", "price": 12.5, "name": "mint tea"}


@pytest.fixture
def client(bundle):
    return create_app(build_engine(bundle, log=MemoryLog()), clock=lambda: NOW).test_client()


def put(client, path, content):
    return client.put(path, data=orjson.dumps(content), content_type="application/json")


def rank(client, *candidates):
    body = {"surface": "home", "user_id": "u", "candidates": candidates}
    return client.post("/v1/rank", data=orjson.dumps(body), content_type="application/json")


def test_items_are_written_shown_hidden_and_taken_out(client, bundle):
    known = bundle.catalogue.items["item_id"][0].as_py()
    batch = [NEW, {"item_id": known, "version": 1, "in_stock": True, "price": 7.0}, {"item_id": "who", "version": 1}]
    answer = put(client, "/v1/items", {"items": batch})
    assert answer.get_json() == {"accepted": 2, "stale": [], "unknown": ["who"]}
    assert put(client, "/v1/items", {"items": batch[:2]}).get_json() == {
        "accepted": 0,
        "stale": ["new", known],
        "unknown": [],
    }
    ranked = rank(client, "new", known).get_json()
    assert {item["item_id"]: item["price"] for item in ranked["items"]} == {"new": 12.5, known: 7.0}
    put(client, "/v1/items", {"items": [{"item_id": "new", "version": 2, "hidden": True}]})
    ranked = rank(client, "new", known).get_json()
    assert [item["item_id"] for item in ranked["items"]] == [known]
    assert ranked["unavailable_candidates"] == {"new": "hidden"}
    assert client.delete(f"/v1/items/{known}").get_json() == {"accepted": 1, "stale": [], "unknown": []}
    refused = rank(client, "new", known)
    assert refused.status_code == 404
    assert f"{known} is removed" in refused.get_json()["detail"]
    assert client.delete("/v1/items/nobody's?version=3").status_code == 404


def test_a_merchant_is_blocked(client):
    put(client, "/v1/items", {"items": [NEW]})
    answer = put(client, "/v1/merchants", {"merchants": [{"merchant_id": "m new", "version": 1, "blocked": True}]})
    assert answer.get_json()["accepted"] == 1
    assert "merchant blocked" in rank(client, "new").get_json()["detail"]


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"version": 1}, "items.0.item_id"),
        ({"item_id": "a"}, "items.0.version"),
        ({"item_id": "a", "version": -1}, "items.0.version"),
        ({"item_id": "a", "version": 1, "price": None}, "items.0.price"),
        ({"item_id": "a", "version": 1, "price": -2.0}, "items.0.price"),
        ({"item_id": "a", "version": 1, "price": "9"}, "items.0.price"),
        ({"item_id": "a", "version": 1, "prices": 9}, "items.0.prices"),
        ({"item_id": "a", "version": 1, "expires_at": "2026-03-01T12:00:00"}, "items.0.expires_at"),
        ({"item_id": "a", "version": 1, "attributes": {"brand": 3}}, "items.0.attributes.brand"),
        ({"item_id": "a", "version": 1, "price": 3.0, "currency": "USD"}, "items.0.currency"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place_and_nothing_is_written(client, item, field):
    answer = put(client, "/v1/items", {"items": [item, NEW] if "currency" not in item else [item]})
    assert answer.status_code == 400
    assert [problem["field"] for problem in answer.get_json()["problems"]] == [field]
    assert rank(client, "new").status_code == 404


def test_a_batch_has_a_limit(client):
    answer = put(client, "/v1/items", {"items": [{"item_id": "a", "version": 1}] * 1001})
    assert answer.status_code == 400


def test_writing_needs_a_key_of_its_scope(bundle):
    from hashlib import sha256

    keys = "".join(
        f'[{name}]\nsha256 = "{sha256(name.encode()).hexdigest()}"\nscopes = ["{scope}"]\n'
        for name, scope in (("front", "rank"), ("pim", "catalogue"))
    )
    engine = build_engine(bundle, log=MemoryLog())
    client = create_app(engine, clock=lambda: NOW, keys=KeyRing.from_toml(keys, file="keys")).test_client()
    body = {"data": orjson.dumps({"items": [NEW]}), "content_type": "application/json"}
    codes = [
        client.put("/v1/items", headers={"Authorization": f"Bearer {name}"}, **body).status_code
        for name in ("nobody", "front", "pim")
    ]
    assert codes == [401, 403, 200]


def test_the_document_describes_every_route(client):
    document = client.get("/openapi.json").get_json()
    assert set(document["paths"]) >= {"/v1/items", "/v1/items/{item_id}", "/v1/merchants"}
    parameters = document["paths"]["/v1/items/{item_id}"]["delete"]["parameters"]
    assert [(one["name"], one["in"], one["required"]) for one in parameters] == [
        ("item_id", "path", True),
        ("version", "query", False),
    ]
