"""/v1/feedback: what shoppers did."""

from __future__ import annotations

from dataclasses import asdict

from flask import Flask, Response

from serving import answers, payloads
from serving.request import BadRequest
from serving.routes.bodies import json_answer, parse, refuse_future
from serving.routes.callers import sender
from serving.routes.context import RouteContext


def add_feedback(app: Flask, context: RouteContext) -> None:
    services = context.services

    @app.post("/v1/feedback")
    def feedback() -> Response:
        batch, now = parse(payloads.FeedbackRequest), context.clock()
        services.follow()
        service = services.current()
        for row, event in enumerate(batch.events):
            refuse_future(f"events.{row}.time", event.time, now)
            if event.currency is not None and event.currency != service.currency:
                message = (
                    f"this market's amounts are in {service.currency}; {event.currency} was received. Convert first."
                )
                raise BadRequest(f"events.{row}.currency", message)
        table, details = answers.feedback_table(batch), answers.order_details(batch)
        receipt = service.record(table, sender=sender(), details=details)
        context.counts.observe_feedback(receipt)
        return json_answer(asdict(receipt))
