"""Calls: each route as a typed call, which a client sends.

A request that names no request id gets one here, so that an attempt that is made again is the same request: the service
answers it from the record. Feedback has its feedback ids, the catalogue its versions.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from serving.catalogue_payloads import CatalogueAnswer, ItemsRequest, MerchantsRequest
from serving.explanation import SlateExplanation
from serving.page_payloads import PageAnswer, PageRequest
from serving.payloads import (
    AnyRequest,
    FeedbackAnswer,
    FeedbackRequest,
    RankRequest,
    Readiness,
    RecommendRequest,
    SearchRequest,
    SlateAnswer,
)
from serving.policy_payloads import (
    BundleList,
    PolicyAnswer,
    PolicyHistory,
    PolicyUpdate,
    Rollback,
    Signature,
    VersionAnswer,
)

Answer = TypeVar("Answer", bound=BaseModel)
Named = TypeVar("Named", bound=AnyRequest)


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request of the service; `repeatable`: to do it twice is to do it once."""

    method: str
    path: str
    answer: type[Answer]
    body: BaseModel | None = None
    query: dict[str, str] | None = None
    repeatable: bool = True
    statuses: frozenset[int] = frozenset({200})  # whose body is the answer


def recommend(request: RecommendRequest) -> Call[SlateAnswer]:
    return Call("POST", "/v1/recommend", SlateAnswer, _named(request))


def search(request: SearchRequest) -> Call[SlateAnswer]:
    return Call("POST", "/v1/search", SlateAnswer, _named(request))


def rank(request: RankRequest) -> Call[SlateAnswer]:
    return Call("POST", "/v1/rank", SlateAnswer, _named(request))


def page(request: PageRequest) -> Call[PageAnswer]:
    return Call("POST", "/v1/page", PageAnswer, PageRequest(rows=[_named(row) for row in request.rows]))


def explain(request_id: str) -> Call[SlateExplanation]:
    return Call("GET", f"/v1/explain/{quote(request_id, safe='')}", SlateExplanation)


def feedback(batch: FeedbackRequest) -> Call[FeedbackAnswer]:
    return Call("POST", "/v1/feedback", FeedbackAnswer, batch)


def put_items(batch: ItemsRequest) -> Call[CatalogueAnswer]:
    return Call("PUT", "/v1/items", CatalogueAnswer, batch)


def delete_item(item_id: str, *, version: int | None = None) -> Call[CatalogueAnswer]:
    query = None if version is None else {"version": str(version)}
    return Call("DELETE", f"/v1/items/{quote(item_id, safe='')}", CatalogueAnswer, query=query)


def put_merchants(batch: MerchantsRequest) -> Call[CatalogueAnswer]:
    return Call("PUT", "/v1/merchants", CatalogueAnswer, batch)


def policy() -> Call[PolicyAnswer]:
    return Call("GET", "/v1/policy", PolicyAnswer)


def put_policy(update: PolicyUpdate) -> Call[PolicyAnswer]:
    return Call("PUT", "/v1/policy", PolicyAnswer, update, repeatable=False)


def roll_back_policy(back: Rollback) -> Call[PolicyAnswer]:
    return Call("POST", "/v1/policy/rollback", PolicyAnswer, back, repeatable=False)


def policy_versions(*, most: int = 50, before: int | None = None) -> Call[PolicyHistory]:
    query = {"most": str(most)} | ({} if before is None else {"before": str(before)})
    return Call("GET", "/v1/policy/versions", PolicyHistory, query=query)


def policy_version(number: int) -> Call[VersionAnswer]:
    return Call("GET", f"/v1/policy/versions/{number}", VersionAnswer)


def bundles() -> Call[BundleList]:
    return Call("GET", "/v1/bundles", BundleList)


def activate_bundle(bundle_id: str, signature: Signature) -> Call[PolicyAnswer]:
    path = f"/v1/bundles/{quote(bundle_id, safe='')}/activate"
    return Call("POST", path, PolicyAnswer, signature, repeatable=False)


def readiness() -> Call[Readiness]:
    """Ready or not."""
    return Call("GET", "/readyz", Readiness, statuses=frozenset({200, 503}))


def _named(request: Named) -> Named:
    """The request under an id."""
    return request if request.request_id else request.model_copy(update={"request_id": uuid.uuid4().hex})
