"""Request ids and trace context come back in headers, and stand in the access log."""

import json
import logging
import re

import pytest
from fake_service import FakeService
from test_app import HOME, NOW, post

from serving.app import create_app

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def client():
    return create_app(FakeService(), clock=lambda: NOW).test_client()


def test_the_callers_ids_come_back_and_stand_in_the_log(client, caplog):
    sent = {"X-Request-Id": "checkout-7", "traceparent": TRACE, "tracestate": "vendor=1"}
    with caplog.at_level(logging.INFO, logger="serving.access_log"):
        answer = post(client, "/v1/recommend", HOME, headers=sent)
    assert answer.headers["X-Request-Id"] == "checkout-7"
    version, trace, span, flags = answer.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE.split("-")[1], "01")
    assert re.fullmatch("[0-9a-f]{16}", span)
    assert span != TRACE.split("-")[2]
    assert answer.headers["tracestate"] == "vendor=1"
    (line,) = [json.loads(record.message) for record in caplog.records]
    assert line.pop("milliseconds") >= 0
    assert line == {
        "method": "POST",
        "path": "/v1/recommend",
        "status": 200,
        "request_id": "checkout-7",
        "trace_id": trace,
        "span_id": span,
        "key": "",
    }


def test_without_ids_the_slates_own_is_told_and_a_trace_begins(client):
    answer = post(client, "/v1/recommend", HOME | {"request_id": "طلب 1"})
    assert answer.headers["X-Request-Id"] == "%D8%B7%D9%84%D8%A8%201"
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", answer.headers["traceparent"])
    assert "tracestate" not in answer.headers
    refused = post(client, "/v1/recommend", b"{")
    assert refused.status_code == 400
    assert refused.headers["X-Request-Id"] != answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Request-Id", "a b"),
        ("X-Request-Id", "x" * 129),
        ("X-Request-Id", "\u00e9"),
        ("traceparent", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"),
        ("traceparent", TRACE.upper()),
        ("traceparent", TRACE + "-more"),
        ("tracestate", "without=parent"),
    ],
)
def test_ids_that_are_none_are_replaced(client, name, value):
    answer = client.get("/healthz", headers={name: value})
    assert answer.status_code == 200
    assert answer.headers.get(name) != value
