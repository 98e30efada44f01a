"""/v1/recommend and /v1/rank: slates."""

from __future__ import annotations

import uuid

from flask import Flask, Response, g

from serving import answers, payloads
from serving.keys import KeyScope
from serving.routes.bodies import json_answer, parse, refuse_future
from serving.routes.callers import deadline, require
from serving.routes.context import RouteContext


def add_rankings(app: Flask, context: RouteContext) -> None:
    services, counts = context.services, context.counts

    def answer(payload: payloads.RecommendRequest | payloads.RankRequest) -> Response:
        now = context.clock()
        refuse_future("time", payload.time, now)
        if payload.seed is not None:
            require(KeyScope.TEST, what="a seed of one's choice")
        services.follow()
        service = services.current()
        request = payload.to_request(request_id=uuid.uuid4().hex, now=now, spec=service.spec)
        ranking = service.rank(request, deadline=deadline())
        counts.observe_ranking(ranking.seconds, candidates=ranking.slate.considered, left_out=ranking.left_out)
        counts.observe_rung(ranking.slate)
        counts.observe_variants(ranking.slate, without_unit=ranking.without_unit)
        terms = service.explain(ranking.slate) if payload.explain else None
        g.slate = ranking.slate.request_id
        return json_answer(answers.slate_answer(ranking, contributions=terms, with_source=g.caller.may(KeyScope.TEST)))

    @app.post("/v1/recommend")
    def recommend() -> Response:
        return answer(parse(payloads.RecommendRequest))

    @app.post("/v1/rank")
    def rank() -> Response:
        return answer(parse(payloads.RankRequest))
