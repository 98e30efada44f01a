import re
from datetime import UTC, datetime, timedelta
from io import BytesIO

import orjson
import pytest
from fake_service import CATALOGUE, FakeService

from marketplace.log import LogUnavailable
from serving import payloads
from serving.app import create_app
from serving.openapi import OPERATIONS

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOME = {"surface": "home", "user_id": "u1"}


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def client(service):
    return create_app(service, clock=lambda: NOW).test_client()


def post(client, path, content, **changes):
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return client.post(path, data=body, content_type=changes.pop("content_type", "application/json"), **changes)


def problems(response) -> dict[str, str]:
    return {problem["field"]: problem["message"] for problem in response.get_json()["problems"]}


def described_models():
    return {one.request for one in OPERATIONS if one.request is not None}


def event(**changes):
    row = {"feedback_id": "f1", "event": "click", "time": NOW.isoformat(), "user_id": "u1", "item_id": "item 1"}
    return row | changes


def test_a_recommendation_follows_its_documented_model(client):
    response = post(client, "/v1/recommend", HOME | {"k": 5, "explain": True})
    assert response.status_code == 200
    answer = payloads.SlateAnswer.model_validate_json(response.data)
    assert [item.item_id for item in answer.items] == list(CATALOGUE[:5])
    assert answer.considered == 30
    for item in answer.items:
        assert sum(item.contributions.values()) == pytest.approx(item.value, abs=1e-12)


def test_ranking_leaves_unknown_candidates_out_and_names_them(client):
    response = post(client, "/v1/rank", HOME | {"candidates": ["item 3", "gone", "item 1"]})
    answer = response.get_json()
    assert [item["item_id"] for item in answer["items"]] == ["item 3", "item 1"]
    assert answer["unknown_candidates"] == ["gone"]
    assert "contributions" not in answer["items"][0]


def test_the_clock_gives_the_time_of_requests_that_carry_none(client, service):
    post(client, "/v1/recommend", HOME | {"request_id": "r1"})
    assert service.slates["r1"].time == NOW


def test_times_are_read_in_their_own_zone(client, service):
    riyadh = "2026-03-01T15:00:00+03:00"
    assert post(client, "/v1/recommend", HOME | {"request_id": "r1", "time": riyadh}).status_code == 200
    assert service.slates["r1"].time == NOW


def test_a_request_id_is_answered_once(client):
    assert post(client, "/v1/recommend", HOME | {"request_id": "r1"}).status_code == 200
    response = post(client, "/v1/recommend", HOME | {"request_id": "r1"})
    assert response.status_code == 409
    assert "'r1'" in response.get_json()["detail"]


def test_feedback_is_counted_once_by_its_id(client, service):
    batch = {"events": [event(), event(feedback_id="f2", event="order", amount=9.5, currency="SAR")]}
    assert post(client, "/v1/feedback", batch).get_json() == {"accepted": 2, "duplicates": 0, "quarantined": {}}
    assert post(client, "/v1/feedback", batch).get_json() == {"accepted": 0, "duplicates": 2, "quarantined": {}}
    assert service.feedback["f2"]["amount"] == 9.5


@pytest.mark.parametrize(
    ("path", "content", "field", "reason"),
    [
        ("/v1/recommend", {"surface": "home"}, "user_id", "required"),
        ("/v1/recommend", HOME | {"surface": "cellar"}, "surface", "home"),
        ("/v1/recommend", HOME | {"colour": 1}, "colour", "unknown field. Known: surface, user_id"),
        ("/v1/recommend", HOME | {"sesion_id": "s"}, "sesion_id", "Did you mean 'session_id'?"),
        ("/v1/feedback", {"events": [event(itemid="i")]}, "events.0.itemid", "Did you mean 'item_id'?"),
        ("/v1/recommend", HOME | {"k": "5"}, "k", "valid integer; received '5'"),
        ("/v1/recommend", HOME | {"k": 0}, "k", "greater than or equal to 1"),
        ("/v1/recommend", HOME | {"k": True}, "k", "valid integer"),
        ("/v1/recommend", HOME | {"user_id": "x" * 129}, "user_id", "at most 128"),
        ("/v1/recommend", HOME | {"user_id": "a\u0000b"}, "user_id", "pattern"),
        ("/v1/recommend", HOME | {"time": "2026-03-01T12:00:00"}, "time", "timezone"),
        ("/v1/recommend", HOME | {"time": (NOW + timedelta(hours=1)).isoformat()}, "time", "future"),
        ("/v1/recommend", HOME | {"surface": "search"}, "", "needs query"),
        ("/v1/recommend", HOME | {"query": "tea"}, "", "does not belong"),
        ("/v1/recommend", HOME | {"context": {"a": 1}}, "context.a", "valid string"),
        ("/v1/rank", HOME, "candidates", "required"),
        ("/v1/rank", HOME | {"candidates": []}, "candidates", "at least 1"),
        ("/v1/rank", HOME | {"candidates": [str(i) for i in range(1001)]}, "candidates", "at most 1000"),
        ("/v1/rank", HOME | {"candidates": ["a", "b", "a"]}, "", "'a' is repeated"),
        ("/v1/feedback", {"events": [event(event="stare")]}, "events.0.event", "impression"),
        ("/v1/feedback", {"events": [event(event="order")]}, "events.0", "needs its amount"),
        ("/v1/feedback", {"events": [event(amount=1)]}, "events.0", "needs its currency"),
        ("/v1/feedback", {"events": [event(amount=1, currency="USD")]}, "events.0.currency", "SAR"),
        ("/v1/feedback", {"events": [event(amount=-1, currency="SAR")]}, "events.0.amount", "greater than"),
        ("/v1/feedback", {"events": [event(time=(NOW + timedelta(days=1)).isoformat())]}, "events.0.time", "future"),
        ("/v1/recommend", HOME | {"time": "0001-01-01T00:00:00+14:00"}, "time", "from 1970 to 2199"),
        ("/v1/recommend", HOME | {"time": "9999-12-31T23:59:59-14:00"}, "time", "from 1970 to 2199"),
        ("/v1/feedback", {"events": [event(time="1969-12-31T23:59:59Z")]}, "events.0.time", "from 1970 to 2199"),
    ],
)
def test_a_malformed_request_is_refused_with_the_field_and_the_reason(client, path, content, field, reason):
    response = post(client, path, content)
    assert response.status_code == 400
    assert reason in problems(response)[field]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"home"',
        b'{"surface": "home", "user_id": "\xff\xfe"}',
        b'{"surface": "home", "user_id": "\\ud800"}',
        b'{"surface": "home", "user_id": NaN}',
        b'{"events": [{"amount": NaN}]}',
        b"[" * 100_000,
        b'{"surface": "home", "user_id": "u", "k": 1e999}',
        b'{"surface": "home", "user_id": "u", "seed": ' + b"9" * 5000 + b"}",
    ],
)
@pytest.mark.parametrize("path", ["/v1/recommend", "/v1/rank", "/v1/feedback"])
def test_a_broken_body_is_a_400_in_json(client, path, body):
    response = post(client, path, body)
    assert response.status_code == 400
    assert response.get_json()["detail"]


def test_infinite_and_absent_amounts_are_refused(client):
    row = orjson.dumps(event(event="order", amount=7, currency="SAR"))
    for number in (b"NaN", b"Infinity", b"1e400"):
        response = post(client, "/v1/feedback", b'{"events": [' + row.replace(b":7", b":" + number) + b"]}")
        assert response.status_code == 400


def test_every_refusal_is_a_problem_in_json_that_follows_its_model(client):
    large = post(client, "/v1/rank", b" " * (payloads.MAX_BODY_BYTES + 1))
    form = post(client, "/v1/rank", b"a=1", content_type="application/x-www-form-urlencoded")
    page = HOME | {"surface": "product_page", "page_item_id": "gone"}
    refusals = {
        (413, f"larger than {payloads.MAX_BODY_BYTES} bytes"): large,
        (415, "send JSON"): form,
        (404, "'gone' is not in the catalogue"): post(client, "/v1/recommend", page),
        (404, "no route /nowhere"): client.get("/nowhere"),
        (405, "/v1/rank does not take GET"): client.get("/v1/rank"),
        (400, "malformed"): post(client, "/v1/rank", b"{"),
    }
    for (status, detail), response in refusals.items():
        assert (response.status_code, response.mimetype) == (status, "application/problem+json")
        refusal = payloads.Refusal.model_validate_json(response.data)
        assert refusal.status == status
        assert detail in refusal.detail
    assert set(refusals[405, "/v1/rank does not take GET"].headers["Allow"].split(", ")) == {"OPTIONS", "POST"}


class BrokenBody:
    """The input of a server that finds a chunk malformed."""

    def read(self, size):
        raise ValueError("Invalid chunk size: b'zz'")


@pytest.mark.parametrize(
    ("stream", "sent", "status", "reason"),
    [
        (BytesIO(orjson.dumps(HOME)), {}, 200, ""),
        (BytesIO(orjson.dumps(HOME) + b" " * payloads.MAX_BODY_BYTES + b"more"), {}, 413, "send less at a time"),
        (BrokenBody(), {}, 400, "Invalid chunk size"),
        (BytesIO(orjson.dumps(HOME)), {"CONTENT_LENGTH": "500"}, 400, "ends after 33 of 500 bytes"),
    ],
)
def test_a_body_is_read_whole_or_refused(client, service, stream, sent, status, reason):
    environ = {"wsgi.input": stream, "wsgi.input_terminated": True, "CONTENT_TYPE": "application/json", **sent}
    response = client.open("/v1/recommend", method="POST", environ_overrides=environ)
    assert response.status_code == status
    assert reason in response.text
    assert len(service.slates) == (status == 200)


def test_an_unforeseen_error_tells_the_caller_nothing_of_the_inside(client, service, monkeypatch):
    monkeypatch.setattr(service, "rank", lambda request: 1 / 0)
    response = post(client, "/v1/recommend", HOME)
    assert response.status_code == 500
    assert "ZeroDivision" not in response.text
    assert "Traceback" not in response.text


def test_health_and_readiness(client, service):
    assert client.get("/healthz").get_json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.get_json()["bundle"]) == (200, "b1")
    service.bundle = None
    assert client.get("/readyz").status_code == 503


def test_where_nothing_can_be_logged_requests_are_refused_and_the_service_is_not_ready(service, monkeypatch):
    def broken(*_, **__):
        raise LogUnavailable("the log was moved")

    client = create_app(service, clock=lambda: NOW, probe=broken).test_client()
    monkeypatch.setattr(service, "rank", broken)
    monkeypatch.setattr(service, "record", broken)
    for path, content in (("/v1/recommend", HOME), ("/v1/feedback", {"events": [event()]})):
        response = post(client, path, content)
        assert (response.status_code, response.get_json()["detail"]) == (503, "the log was moved")
    ready = client.get("/readyz")
    assert (ready.status_code, ready.get_json()["ready"]) == (503, False)
    assert ready.get_json()["log_problem"] == "the log was moved"
    assert "value_model_ready 0.0" in client.get("/metrics").text
    assert client.get("/healthz").status_code == 200


def test_metrics_count_answers_and_stages(client):
    post(client, "/v1/recommend", HOME)
    post(client, "/v1/recommend", {})
    text = client.get("/metrics").text
    assert 'value_model_answers_total{route="/v1/recommend",status="200"} 1.0' in text
    assert 'value_model_answers_total{route="/v1/recommend",status="400"} 1.0' in text
    assert 'value_model_stage_seconds_count{stage="scorer"} 1.0' in text
    assert "value_model_candidates_scored_total 30.0" in text
    assert 'value_model_rankings_total{rung="full"} 1.0' in text


def test_every_route_is_documented_and_every_reference_resolves(client):
    described = client.get("/openapi.json").get_json()
    served = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule) for rule in client.application.url_map.iter_rules()}
    assert set(described["paths"]) == served
    schemas = described["components"]["schemas"]
    text = orjson.dumps(described).decode()
    for part in text.split("#/components/schemas/")[1:]:
        assert part.split('"')[0] in schemas
    for model in described_models():
        for content in schemas[model.__name__]["examples"]:
            model.model_validate_json(orjson.dumps(content))
    page = client.get("/docs").text
    assert all(f'id="{path}"' in page for path in served)
    assert all(f'id="{name}"' in page for name in schemas)
    assert "http" not in page.replace("https://", "http").split("<body>")[0]  # nothing from elsewhere
    limit = schemas["RankRequest"]["properties"]["candidates"]["maxItems"]
    assert limit == payloads.MAX_CANDIDATES
    assert schemas["RankRequest"]["additionalProperties"] is False


@pytest.mark.parametrize("path", ["/v1/items//p1", "/v1//items/p1", "/v1/explain//r1"])
def test_a_doubled_slash_is_part_of_the_name_and_leads_to_no_other(client, path):
    answer = client.delete(path) if "items" in path else client.get(path)
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
