"""/v1/items and /v1/merchants: the catalogue moves."""

from __future__ import annotations

from flask import Flask, Response, request

from marketplace.catalogue_records import CatalogueUpdate, Subject
from serving.catalogue_payloads import (
    CatalogueAnswer,
    ItemsRequest,
    MerchantsRequest,
    Removal,
    catalogue_answer,
    item_updates,
    merchant_updates,
    removal,
)
from serving.malformed import refused_by
from serving.request import UnknownName
from serving.routes.bodies import json_answer, parse
from serving.routes.context import RouteContext


def add_catalogue(app: Flask, context: RouteContext) -> None:
    services = context.services

    def write(subject: Subject, updates: list[CatalogueUpdate]) -> CatalogueAnswer:
        receipt = services.current().put_catalogue(subject, updates, time=context.clock())
        for fate in receipt.fates:
            context.counts.catalogue.labels(subject.value, fate.value).inc()
        return catalogue_answer(updates, receipt)

    @app.put("/v1/items")
    def put_items() -> Response:
        batch = parse(ItemsRequest)
        services.follow()
        updates = item_updates(batch, currency=services.current().currency)
        return json_answer(write(Subject.ITEM, updates).model_dump())

    @app.delete("/v1/items/<path:item_id>")
    def delete_item(item_id: str) -> Response:
        with refused_by(Removal):
            chosen = Removal.model_validate_strings({"item_id": item_id, **request.args.to_dict()}, strict=True)
        services.follow()
        answer = write(Subject.ITEM, [removal(chosen.item_id, version=chosen.version)])
        if answer.unknown:
            raise UnknownName(f"item {item_id!r} is not in the catalogue")
        return json_answer(answer.model_dump())

    @app.put("/v1/merchants")
    def put_merchants() -> Response:
        batch = parse(MerchantsRequest)
        services.follow()
        return json_answer(write(Subject.MERCHANT, merchant_updates(batch)).model_dump())
