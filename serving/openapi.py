"""The OpenAPI document, made from the very models that validate requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from features.spec import Feature, FeatureSpec, Kind, Source
from serving import catalogue_payloads, payloads
from serving.deadline import HEADER, LONGEST
from serving.explanation import SlateExplanation
from serving.page_payloads import PageAnswer, PageRequest
from serving.policy_payloads import (
    BundleId,
    BundleList,
    HistoryPage,
    PolicyAnswer,
    PolicyHistory,
    PolicyUpdate,
    Rollback,
    Signature,
    VersionAnswer,
    VersionNumber,
)
from serving.problems import CONTENT_TYPE

Model = type[BaseModel] | None
RANKED = (400, 401, 403, 404, 409, 413, 415, 503)  # refusals of a ranking
WRITTEN = (400, 401, 403, 409, 413, 415, 503)  # refusals of what changes what is in force


@dataclass(frozen=True)
class Operation:
    """One method of a path: the models of its request and answer, None = there is none; `refusals`: their statuses.

    `query`: the model of what stands in the path and in the query.
    """

    path: str
    method: str
    summary: str
    request: Model = None
    answer: Model = None
    refusals: tuple[int, ...] = ()
    query: Model = None
    toml: bool = False  # the request may be a TOML text too, with the rest of it in the query


OPERATIONS = (
    Operation(
        "/v1/recommend",
        "post",
        "Retrieve candidates and rank them",
        payloads.RecommendRequest,
        payloads.SlateAnswer,
        RANKED,
    ),
    Operation(
        "/v1/rank",
        "post",
        "Rank the caller's candidates",
        payloads.RankRequest,
        payloads.SlateAnswer,
        RANKED,
    ),
    Operation(
        "/v1/search",
        "post",
        "Retrieve candidates for a query and rank them",
        payloads.SearchRequest,
        payloads.SlateAnswer,
        RANKED,
    ),
    Operation("/v1/page", "post", "Rank several rows, no item twice", PageRequest, PageAnswer, RANKED),
    Operation(
        "/v1/explain/{request_id}",
        "get",
        "Why a slate was shown: its items with their terms, as logged",
        answer=SlateExplanation,
        refusals=(400, 401, 403, 404, 503),
        query=payloads.RequestId,
    ),
    Operation(
        "/v1/feedback",
        "post",
        "Record what shoppers did; safe to repeat",
        payloads.FeedbackRequest,
        payloads.FeedbackAnswer,
        (400, 401, 403, 413, 415, 503),
    ),
    Operation(
        "/v1/items",
        "put",
        "Write what changed of items, and new ones; safe to repeat",
        catalogue_payloads.ItemsRequest,
        catalogue_payloads.CatalogueAnswer,
        (400, 401, 403, 413, 415, 503),
    ),
    Operation(
        "/v1/items/{item_id}",
        "delete",
        "Take an item out; safe to repeat",
        answer=catalogue_payloads.CatalogueAnswer,
        refusals=(400, 401, 403, 404, 503),
        query=catalogue_payloads.Removal,
    ),
    Operation(
        "/v1/merchants",
        "put",
        "Write what changed of merchants, and new ones; safe to repeat",
        catalogue_payloads.MerchantsRequest,
        catalogue_payloads.CatalogueAnswer,
        (400, 401, 403, 413, 415, 503),
    ),
    Operation("/v1/policy", "get", "The policy in force", answer=PolicyAnswer, refusals=(401, 403, 409, 503)),
    Operation(
        "/v1/policy",
        "put",
        "Check a policy, and put it in force for all shoppers or a share of them",
        PolicyUpdate,
        PolicyAnswer,
        WRITTEN,
        toml=True,
    ),
    Operation(
        "/v1/policy/rollback",
        "post",
        "End the trial, or put an earlier version in force again",
        Rollback,
        PolicyAnswer,
        (*WRITTEN, 404),
    ),
    Operation(
        "/v1/policy/versions",
        "get",
        "The history: who changed what, when and why",
        answer=PolicyHistory,
        refusals=(400, 401, 403, 409, 503),
        query=HistoryPage,
    ),
    Operation(
        "/v1/policy/versions/{number}",
        "get",
        "A version of the history",
        answer=VersionAnswer,
        refusals=(401, 403, 404, 409, 503),
        query=VersionNumber,
    ),
    Operation("/v1/bundles", "get", "The bundles that could serve", answer=BundleList, refusals=(401, 403, 409)),
    Operation(
        "/v1/bundles/{bundle_id}/activate",
        "post",
        "Check a bundle, and serve it",
        Signature,
        PolicyAnswer,
        (*WRITTEN, 404),
        query=BundleId,
    ),
    Operation("/healthz", "get", "The process is alive", answer=payloads.Health),
    Operation("/readyz", "get", "A bundle serves", answer=payloads.Readiness, refusals=(503,)),
    Operation("/metrics", "get", "Prometheus metrics"),
    Operation("/openapi.json", "get", "This document"),
    Operation("/docs", "get", "This document as a page"),
)
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
    404: "What the request names is not there: a merchant, an item, all candidates, a version, a bundle",
    409: "Another request of this request_id is on record already; or what is in force does not allow the change",
    413: "The body is too large",
    415: "The body is not application/json",
    429: "The key is used more often than its entry allows; Retry-After says when to try again",
    503: "Too much to do (Retry-After), no bundle is loaded yet, or a log or folder fails; `detail` says which",
}


def document(*, version: str, spec: FeatureSpec) -> dict[str, Any]:
    """OpenAPI 3.1 as a JSON-able dict; mapped features are typed as `spec` has them."""
    requests = {one.request for one in OPERATIONS if one.request}
    models = {one.answer for one in OPERATIONS if one.answer} | requests | {payloads.Refusal}
    _, definitions = models_json_schema(
        [
            (model, "validation" if model in requests else "serialization")
            for model in sorted(models, key=lambda model: model.__name__)
        ],
        ref_template="#/components/schemas/{model}",
    )
    schemas = definitions["$defs"]
    for model in ("RecommendRequest", "SearchRequest", "RankRequest"):
        schemas[model]["properties"]["features"] = _typed(schemas[model], "features", spec.mapped(Source.REQUEST))
    ranking = schemas["RankRequest"]
    of_candidates = _typed(ranking, "candidate_features", spec.mapped(Source.CANDIDATE), listed=True)
    ranking["properties"]["candidate_features"] = of_candidates
    return {
        "openapi": "3.1.0",
        "info": {"title": "value-model", "version": version},
        "paths": _paths(),
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


def _paths() -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method] = _operation(one)
    return paths


def _operation(one: Operation) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": one.summary, "responses": {"200": {"description": "OK"}}}
    if one.answer:
        operation["responses"]["200"]["content"] = _json_of(one.answer)
    if one.answer in (payloads.SlateAnswer, PageAnswer):
        operation["parameters"] = [TIMEOUT]
    if one.query:
        operation["parameters"] = _parameters(one.path, one.query)
    if one.request:
        operation["requestBody"] = {"required": True, "content": _json_of(one.request)}
    if one.toml:
        operation["requestBody"]["content"]["application/toml"] = {"schema": {"type": "string"}}
    keyed = (429,) if 401 in one.refusals else ()
    for status in (*one.refusals, *keyed):
        body = payloads.Readiness if one.answer is payloads.Readiness else payloads.Refusal
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
            "required": name in schema.get("required", ()),
            "schema": content,
        }
        for name, content in schema["properties"].items()
    ]


def _json_of(model: type[BaseModel], *, kind: str = "application/json") -> dict[str, Any]:
    return {kind: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
