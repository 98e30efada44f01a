"""/v1/recommend, /v1/search, /v1/rank and /v1/page: slates; /v1/explain: one of them as it was logged."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from time import perf_counter
from typing import Any

import numpy as np
import orjson
from flask import Flask, Response, g

from marketplace.slate import Slate
from serving import answers, payloads
from serving.deadline import Deadline
from serving.explanation import explanation
from serving.keys import KeyScope
from serving.page_payloads import PageRequest
from serving.request import Request
from serving.routes.bodies import json_answer, parse, refuse_future
from serving.routes.callers import deadline, require
from serving.routes.context import RouteContext
from serving.routes.refusals import ROW_REFUSALS, refused
from serving.service import PolicyNotLoaded, RankingService
from serving.tracing import TracedRanking

Ranked = payloads.RecommendRequest | payloads.RankRequest


def add_rankings(app: Flask, context: RouteContext) -> None:
    rankings = _Rankings(context)

    @app.post("/v1/recommend")
    def recommend() -> Response:
        return rankings.answer(parse(payloads.RecommendRequest))

    @app.post("/v1/search")
    def search() -> Response:
        return rankings.answer(parse(payloads.SearchRequest))

    @app.post("/v1/rank")
    def rank() -> Response:
        return rankings.answer(parse(payloads.RankRequest))

    @app.post("/v1/page")
    def page() -> Response:
        return rankings.page(parse(PageRequest))

    @app.get("/v1/explain/<path:request_id>")
    def explain(request_id: str) -> Response:
        context.services.follow()
        service = context.services.current()
        slate, terms, unexplained = service.logged(request_id), None, None
        try:
            terms = service.explain(slate)
        except PolicyNotLoaded as error:
            unexplained = str(error)
        return json_answer(explanation(slate, terms, unexplained=unexplained))


class _Rankings:
    """Payloads to answers."""

    def __init__(self, context: RouteContext) -> None:
        self._context = context

    def answer(self, payload: Ranked) -> Response:
        service, (request,) = self._requests([(payload, "")])
        answer = self._slate(service, request, payload, deadline())
        g.slate = answer["request_id"]
        return json_answer(answer)

    def page(self, page: PageRequest) -> Response:
        """Rows that were answered are on record: what a later one meets is told in its place."""
        service, requests = self._requests([(row, f"rows.{place}.") for place, row in enumerate(page.rows)])
        beside = tuple(row.cursor for row in page.rows if row.cursor is not None)
        rows: list[dict[str, Any]] = []
        until, shown = deadline(), list[str]()
        for payload, request in zip(page.rows, requests, strict=True):
            request = replace(request, exclude=(*request.exclude, *shown), beside=beside)
            try:
                slate = self._slate(service, request, payload, until)
                shown += [item["item_id"] for item in slate["items"]]
                rows.append({"slate": slate, "problem": None})
            except ROW_REFUSALS as error:
                rows.append({"slate": None, "problem": orjson.Fragment(refused(error).data)})
        return json_answer({"rows": rows})

    def _requests(self, sent: Iterable[tuple[Ranked, str]]) -> tuple[RankingService, list[Request]]:
        """The service that answers all of them, and each as it takes it; the text is where a payload stands."""
        now = self._context.clock()
        for payload, where in sent:
            refuse_future(f"{where}time", payload.time, now)
            if payload.seed is not None:
                require(KeyScope.TEST, what="a seed of one's choice")
        self._context.services.follow()
        service = self._context.services.current()
        return service, [_request(payload, service, now) for payload, _ in sent]

    def _slate(self, service: RankingService, request: Request, payload: Ranked, until: Deadline) -> dict[str, Any]:
        counts, began = self._context.counts, perf_counter()
        ranking = service.rank(request, deadline=until)
        g.rankings.append(TracedRanking(began, ranking))
        counts.observe_ranking(ranking.seconds, candidates=ranking.slate.considered, left_out=ranking.left_out)
        counts.observe_rung(ranking.slate)
        counts.observe_variants(ranking.slate, without_unit=ranking.without_unit)
        terms = _terms(service, ranking.slate) if payload.explain else None
        return answers.slate_answer(ranking, contributions=terms, with_source=g.caller.may(KeyScope.TEST))


def _terms(service: RankingService, slate: Slate) -> Mapping[str, np.ndarray] | None:
    """Value per term; None where no policy that serves ranked the slate: one answered before, or a plain list."""
    try:
        return service.explain(slate)
    except PolicyNotLoaded:
        return None


def _request(payload: Ranked, service: RankingService, now: datetime) -> Request:
    return payload.to_request(request_id=uuid.uuid4().hex, now=now, spec=service.spec)
