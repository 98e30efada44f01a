"""Spans of an answer: whose they are, what stands in them, and that they reach a collector; none without one."""

import gzip
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from fake_service import FakeService
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from test_app import HOME, NOW, post

from serving import wsgi
from serving.app import create_app
from serving.stages import STAGES
from serving.tracing import ENDPOINTS, PARTS, Tracing, tracing

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECONDS = {stage: 0.001 * (number + 1) for number, stage in enumerate(STAGES)}
PATH = ["features", "retrieval", "features", "model", "slate", "log"]


class StagedService(FakeService):
    """Tells of every stage how long it took."""

    def rank(self, request, **options):
        return replace(super().rank(request, **options), seconds=SECONDS)


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def client(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return create_app(StagedService(), clock=lambda: NOW, tracing=Tracing(provider)).test_client()


def test_an_answer_is_a_span_of_the_callers_trace_over_the_parts_of_its_ranking(client, exporter):
    assert set(PARTS) == set(STAGES)
    answer = post(client, "/v1/recommend", HOME, headers={"traceparent": TRACE, "tracestate": "vendor=1"})
    *parts, whole = exporter.get_finished_spans()
    _, trace, parent, _ = TRACE.split("-")
    span = f"{whole.context.span_id:016x}"
    assert (whole.name, whole.kind, f"{whole.parent.span_id:016x}") == ("POST /v1/recommend", SpanKind.SERVER, parent)
    assert answer.headers["traceparent"] == f"00-{trace}-{span}-01"
    assert answer.headers["tracestate"] == "vendor=1"
    assert dict(whole.attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/recommend",
        "http.response.status_code": 200,
        "value_model.request_id": answer.headers["X-Request-Id"],
    }
    assert [part.name for part in parts] == PATH
    assert {f"{part.parent.span_id:016x}" for part in parts} == {span}
    assert dict(parts[0].attributes) == {"value_model.rung": "full", "value_model.candidates": 30}
    took = [(part.end_time - part.start_time) / 1e9 for part in parts]
    expected = [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10, 11), (12,)]  # thousandths of a second, of the stages in order
    assert took == pytest.approx([sum(stages) / 1000 for stages in expected], abs=1e-6)
    assert [part.start_time for part in parts[1:]] == [part.end_time for part in parts[:-1]]
    assert whole.start_time <= parts[0].start_time


def test_a_page_has_the_parts_of_each_row_and_a_refusal_none(client, exporter):
    answer = client.post("/v1/page", json={"rows": [HOME, HOME | {"k": 2}]})
    assert answer.status_code == 200
    assert [span.name for span in exporter.get_finished_spans()] == [*PATH, *PATH, "POST /v1/page"]
    exporter.clear()
    post(client, "/v1/recommend", b"{")
    (refused,) = exporter.get_finished_spans()
    assert refused.attributes["http.response.status_code"] == 400
    assert refused.status.is_ok or refused.status.is_unset  # the caller's fault


def test_probes_and_what_the_caller_does_not_sample_leave_no_span(client, exporter):
    client.get("/healthz")
    unsampled = TRACE.removesuffix("01") + "00"
    answer = post(client, "/v1/recommend", HOME, headers={"traceparent": unsampled})
    assert exporter.get_finished_spans() == ()
    assert answer.headers["traceparent"].startswith(unsampled[:36])
    assert answer.headers["traceparent"].endswith("-00")


def test_spans_reach_the_collector_that_the_environment_names(monkeypatch):
    received = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, gzip.decompress(body) if "Content-Encoding" in self.headers else body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            """Nothing."""

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    spans = tracing(environment)
    post(create_app(StagedService(), clock=lambda: NOW, tracing=spans).test_client(), "/v1/recommend", HOME)
    spans.flush()
    collector.shutdown()
    ((path, body),) = received
    assert path == "/v1/traces"
    (sent,) = ExportTraceServiceRequest.FromString(body).resource_spans
    (name,) = [one.value.string_value for one in sent.resource.attributes if one.key == "service.name"]
    assert name == "value-model"
    assert [span.name for scope in sent.scope_spans for span in scope.spans] == [*PATH, "POST /v1/recommend"]


@pytest.mark.parametrize(
    "environment",
    [{}, {ENDPOINTS[0]: ""}, {ENDPOINTS[0]: "http://c", "OTEL_SDK_DISABLED": "true"}],
)
def test_it_is_off_unless_the_environment_says_so(environment):
    assert tracing(environment) is None


def test_what_hinders_it_stops_the_service_and_is_named(monkeypatch):
    named = {ENDPOINTS[1]: "http://127.0.0.1:4318"}
    with pytest.raises(wsgi.NotConfigured, match="protocol is 'grpc'; spans are sent by http/protobuf alone"):
        wsgi._tracing(named | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(wsgi.NotConfigured, match=r"Install value-model\[otel\]"):
        wsgi._tracing(named)
