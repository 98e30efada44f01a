"""The OpenAPI document, made from the very models that validate requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from features.spec import Feature, FeatureSpec, Kind, Source
from serving import catalogue_payloads, payloads
from serving.deadline import HEADER, LONGEST
from serving.problems import CONTENT_TYPE

# path -> (method, summary, request model, answer model, statuses of refusals)
ROUTES: dict[str, tuple[str, str, type[BaseModel] | None, type[BaseModel] | None, tuple[int, ...]]] = {
    "/v1/recommend": (
        "post",
        "Retrieve candidates and rank them",
        payloads.RecommendRequest,
        payloads.SlateAnswer,
        (400, 401, 403, 404, 409, 413, 415, 503),
    ),
    "/v1/rank": (
        "post",
        "Rank the caller's candidates",
        payloads.RankRequest,
        payloads.SlateAnswer,
        (400, 401, 403, 404, 409, 413, 415, 503),
    ),
    "/v1/feedback": (
        "post",
        "Record what shoppers did; safe to repeat",
        payloads.FeedbackRequest,
        payloads.FeedbackAnswer,
        (400, 401, 403, 413, 415, 503),
    ),
    "/v1/items": (
        "put",
        "Write what changed of items, and new ones; safe to repeat",
        catalogue_payloads.ItemsRequest,
        catalogue_payloads.CatalogueAnswer,
        (400, 401, 403, 413, 415, 503),
    ),
    "/v1/items/{item_id}": (
        "delete",
        "Take an item out; safe to repeat",
        catalogue_payloads.Removal,
        catalogue_payloads.CatalogueAnswer,
        (400, 401, 403, 404, 503),
    ),
    "/v1/merchants": (
        "put",
        "Write what changed of merchants, and new ones; safe to repeat",
        catalogue_payloads.MerchantsRequest,
        catalogue_payloads.CatalogueAnswer,
        (400, 401, 403, 413, 415, 503),
    ),
    "/healthz": ("get", "The process is alive", None, payloads.Health, ()),
    "/readyz": ("get", "A bundle serves", None, payloads.Readiness, (503,)),
    "/metrics": ("get", "Prometheus metrics", None, None, ()),
    "/openapi.json": ("get", "This document", None, None, ()),
    "/docs": ("get", "This document as a page", None, None, ()),
}
TIMEOUT = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "milliseconds that the caller waits: near the end fewer candidates are ranked, or none (503)",
    "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST},
}
REASONS = {
    400: "The request is malformed: `problems` names each field",
    401: "Keys are configured, and none of them was sent: Authorization: Bearer KEY",
    403: "The key lacks a scope, which `detail` names",
    404: "A merchant, item or all candidates are not in the catalogue",
    409: "A slate of this request_id is already on record",
    413: "The body is too large",
    415: "The body is not application/json",
    503: "Too much to do (Retry-After), no bundle is loaded yet, or the log cannot be written; `detail` says which",
}


def document(*, version: str, spec: FeatureSpec) -> dict[str, Any]:
    """OpenAPI 3.1 as a JSON-able dict; mapped features are typed as `spec` has them."""
    models = {model for _, _, request, answer, _ in ROUTES.values() for model in (request, answer) if model}
    requested = {request for _, _, request, _, _ in ROUTES.values()}
    inputs = sorted(models | {payloads.Refusal}, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation" if model in requested else "serialization") for model in inputs],
        ref_template="#/components/schemas/{model}",
    )
    schemas = definitions["$defs"]
    for model in ("RecommendRequest", "RankRequest"):
        schemas[model]["properties"]["features"] = _typed(schemas[model], "features", spec.mapped(Source.REQUEST))
    ranking = schemas["RankRequest"]
    of_candidates = _typed(ranking, "candidate_features", spec.mapped(Source.CANDIDATE), listed=True)
    ranking["properties"]["candidate_features"] = of_candidates
    return {
        "openapi": "3.1.0",
        "info": {"title": "value-model", "version": version},
        "paths": {path: {row[0]: _operation(path, *row[1:])} for path, row in ROUTES.items()},
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],  # no key, where none are configured
    }


def _typed(
    schema: Mapping[str, Any], field: str, features: Iterable[Feature], *, listed: bool = False
) -> dict[str, Any]:
    """The field's schema with each feature's name and type, one value or one a candidate."""
    kinds = {Kind.NUMBER: ["number", "boolean", "null"], Kind.CATEGORY: ["string", "null"]}
    cells = {feature: {"type": kinds[feature.kind]} for feature in features}
    named = {
        feature.name: {"description": feature.meaning, **({"type": "array", "items": cell} if listed else cell)}
        for feature, cell in cells.items()
    }
    return {
        "type": "object",
        "description": schema["properties"][field]["description"],
        "properties": named,
        "additionalProperties": False,
    }


def _operation(
    path: str, summary: str, request: type[BaseModel] | None, answer: type[BaseModel] | None, refusals: tuple[int, ...]
) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": summary, "responses": {"200": {"description": "OK"}}}
    if answer:
        operation["responses"]["200"]["content"] = _json_of(answer)
    if answer is payloads.SlateAnswer:
        operation["parameters"] = [TIMEOUT]
    if request and "{" in path:
        operation["parameters"] = _parameters(path, request)
    elif request:
        operation["requestBody"] = {"required": True, "content": _json_of(request)}
    for status in refusals:
        body = payloads.Readiness if answer is payloads.Readiness else payloads.Refusal
        kind = "application/json" if body is payloads.Readiness else CONTENT_TYPE
        operation["responses"][str(status)] = {"description": REASONS[status], "content": _json_of(body, kind=kind)}
    return operation


def _parameters(path: str, model: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields of a model whose values stand in the path and in the query."""
    schema = model.model_json_schema()
    return [
        {
            "name": name,
            "in": "path" if f"{{{name}}}" in path else "query",
            "required": name in schema["required"],
            "schema": content,
        }
        for name, content in schema["properties"].items()
    ]


def _json_of(model: type[BaseModel], *, kind: str = "application/json") -> dict[str, Any]:
    return {kind: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
