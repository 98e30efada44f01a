"""Every answer is counted, gets its ids, and a line in the access log."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter

from flask import Flask, Response, g, request

from serving.access_log import AnswerIds, record
from serving.keys import ROUTES
from serving.metrics import Metrics
from serving.tracing import TracedRanking, Tracing

UNTRACED = {"/healthz", "/readyz", "/metrics"}  # by who looks after the service, every few seconds
UNKNOWN = "unknown"  # stands for every path that is no route


def add_accounting(app: Flask, counts: Metrics, tracing: Tracing | None) -> None:
    """`extensions["account"]` does so for what the server answers by itself, of which no spans are made."""

    @app.before_request
    def start() -> None:
        g.started, g.rankings = perf_counter(), list[TracedRanking]()

    @app.after_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else UNKNOWN
        seconds, status = perf_counter() - g.started, response.status_code
        counts.observe_answer(route, status=status, seconds=seconds)
        headers = {name.lower(): value for name, value in request.headers.items()}
        ids = AnswerIds.of(headers, slate=g.slate)
        if tracing is not None and route not in UNTRACED:
            facts = {"http.request.method": request.method, "http.route": route, "http.response.status_code": status}
            name = f"{request.method} {route}"
            ids = tracing.traced(ids, headers, name=name, began=g.started, facts=facts, rankings=g.rankings)
        response.headers.update(ids.headers)
        record(ids, method=request.method, path=request.path, status=status, seconds=seconds, caller=g.caller.name)
        return response

    def account(
        headers: Mapping[str, str], *, method: str, path: str, status: int, seconds: float
    ) -> Mapping[str, str]:
        """The headers of its ids."""
        counts.observe_answer(path if path in ROUTES else UNKNOWN, status=status, seconds=seconds)
        counts.observe_unanswered(status)
        ids = AnswerIds.of(headers, slate=None)
        record(ids, method=method, path=path, status=status, seconds=seconds, caller="")
        return ids.headers

    app.extensions["account"] = account
