"""Mapped features are sent, scored, logged and replayed, and the caller's own prices with them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from marketplace.log import Log
from marketplace.memory_log import MemoryLog
from serving.app import create_app
from serving.bundle import build_engine
from serving.replay import replay
from serving.skew import slate_skew

NOW = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def engine(bundle):
    return build_engine(bundle, log=MemoryLog())


@pytest.fixture(scope="module")
def client(engine):
    return create_app(engine, clock=lambda: NOW).test_client()


def ask(market, **changes):
    items = market.dataset.items["item_id"].to_pylist()
    payload = {"surface": "home", "user_id": "u", "candidates": [items[3], "no such item", items[1], items[7]], "k": 3}
    return payload | {"time": market.known_until.isoformat()} | changes


SENT = {
    "features": {"adults": 2},
    "prices": [10.5, 1.0, None, 99.0],
    "candidate_features": {"distance": [0.1, 0.2, None, 0.9], "room": ["double", "single", "suite", None]},
}


def slate_of(log: Log, request_id: str):  # type: ignore[no-untyped-def]
    from marketplace.slate import table_to_slates

    return next(slate for slate in table_to_slates(log.slates()) if slate.request_id == request_id)


def test_what_is_sent_is_scored_logged_and_replayed(client, engine, market):
    answer = client.post("/v1/rank", json=ask(market, request_id="sent", **SENT))
    assert answer.status_code == 200, answer.json
    assert answer.json["unknown_candidates"] == ["no such item"]
    slate = slate_of(engine.log, "sent")
    catalogue = market.dataset.items["price"][1].as_py()
    assert slate.price.tolist() == [10.5, catalogue, 99.0]
    assert np.allclose(slate.numeric["price"], slate.price)
    assert slate.numeric["adults"].tolist() == [2.0]
    assert np.array_equal(slate.numeric["distance"], np.array([0.1, np.nan, 0.9], np.float32), equal_nan=True)
    assert slate.categorical["room"].tolist() == ["double", "suite", None]
    assert replay(engine.parts, slate).same
    assert not any(skew.share for skew in slate_skew(slate, engine.store).values())
    client.post("/v1/rank", json=ask(market, request_id="bare"))
    bare = slate_of(engine.log, "bare")
    assert np.isnan(bare.numeric["distance"]).all()
    assert bare.categorical["room"].tolist() == [None] * 3
    for head in ("ctr", "order_value"):
        assert not np.array_equal(bare.predictions[head], slate.predictions[head])


def test_features_of_the_request_reach_recommendations(client, engine, market):
    payload = {name: cell for name, cell in ask(market).items() if name != "candidates"}
    for number in (1, 4):
        body = payload | {"request_id": f"adults {number}", "features": {"adults": number}}
        assert client.post("/v1/recommend", json=body).status_code == 200
    one, four = (slate_of(engine.log, f"adults {number}") for number in (1, 4))
    assert (one.numeric["adults"], four.numeric["adults"]) == ([1.0], [4.0])
    assert dict(zip(one.item_id, one.predictions["ctr"], strict=True)) != dict(
        zip(four.item_id, four.predictions["ctr"], strict=True)
    )


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"features": {"adult": 2}}, "features.adult", "adults"),
        ({"features": {"adults": "two"}}, "features.adults", "'two'"),
        ({"features": {"adults": -4e38}}, "features.adults", "-4e+38 was received; send at most 3.40282e+38"),
        ({"features": {"distance": 1.0}}, "features.distance", "candidate"),
        ({"candidate_features": {"price": [1.0] * 4}}, "candidate_features.price", "computed by the service"),
        ({"candidate_features": {"room": [1.0] * 4}}, "candidate_features.room", "is a word"),
        ({"candidate_features": {"distance": [1.0] * 3}}, "", "3 values, and there are 4 candidates"),
        ({"prices": [1.0]}, "", "1 values, and there are 4 candidates"),
    ],
)
def test_what_the_model_does_not_know_is_refused(client, market, changes, field, says):
    answer = client.post("/v1/rank", json=ask(market, **changes))
    assert answer.status_code == 400
    (problem,) = answer.json["problems"]
    assert problem["field"] == field
    assert says in problem["message"]


def test_the_document_names_each_feature_with_its_type(client):
    schemas = client.get("/openapi.json").json["components"]["schemas"]
    ranking = schemas["RankRequest"]["properties"]
    assert ranking["features"]["properties"]["adults"]["type"] == ["number", "boolean", "null"]
    assert ranking["candidate_features"]["properties"]["room"]["items"] == {"type": ["string", "null"]}
    assert "candidate_features" not in schemas["RecommendRequest"]["properties"]
