"""The client that waits: every route of the service as a method."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self

import httpx

from serving.catalogue_payloads import CatalogueAnswer, ItemsRequest, MerchantsRequest
from serving.client import calls
from serving.client.calls import Answer, Call
from serving.client.exchange import Attempts, ClientSettings
from serving.explanation import SlateExplanation
from serving.page_payloads import PageAnswer, PageRequest
from serving.payloads import (
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


class Client:
    """The service at `address`; safe to share between threads. Close it, or use it in `with`.

    `transport` stands in for the network, `sleep` for waiting.
    """

    def __init__(
        self,
        address: str,
        settings: ClientSettings | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings, self._sleep = settings or ClientSettings(), sleep
        self._wire = httpx.Client(base_url=address, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        self._wire.close()

    def send(self, call: Call[Answer]) -> Answer:
        """Raises ServiceProblem where it is refused, NoAnswer where no answer comes in time."""
        attempts = Attempts(call, self._settings)
        while True:
            try:
                outcome = attempts.answer(self._wire.request(**attempts.request()))
            except httpx.TransportError as error:
                outcome = attempts.after(error)
            if not isinstance(outcome, float):
                return outcome
            self._sleep(outcome)

    def recommend(self, request: RecommendRequest) -> SlateAnswer:
        return self.send(calls.recommend(request))

    def search(self, request: SearchRequest) -> SlateAnswer:
        return self.send(calls.search(request))

    def rank(self, request: RankRequest) -> SlateAnswer:
        return self.send(calls.rank(request))

    def page(self, request: PageRequest) -> PageAnswer:
        return self.send(calls.page(request))

    def explain(self, request_id: str) -> SlateExplanation:
        return self.send(calls.explain(request_id))

    def feedback(self, batch: FeedbackRequest) -> FeedbackAnswer:
        return self.send(calls.feedback(batch))

    def put_items(self, batch: ItemsRequest) -> CatalogueAnswer:
        return self.send(calls.put_items(batch))

    def delete_item(self, item_id: str, *, version: int | None = None) -> CatalogueAnswer:
        return self.send(calls.delete_item(item_id, version=version))

    def put_merchants(self, batch: MerchantsRequest) -> CatalogueAnswer:
        return self.send(calls.put_merchants(batch))

    def policy(self) -> PolicyAnswer:
        return self.send(calls.policy())

    def put_policy(self, update: PolicyUpdate) -> PolicyAnswer:
        return self.send(calls.put_policy(update))

    def roll_back_policy(self, back: Rollback) -> PolicyAnswer:
        return self.send(calls.roll_back_policy(back))

    def policy_versions(self, *, most: int = 50, before: int | None = None) -> PolicyHistory:
        return self.send(calls.policy_versions(most=most, before=before))

    def policy_version(self, number: int) -> VersionAnswer:
        return self.send(calls.policy_version(number))

    def bundles(self) -> BundleList:
        return self.send(calls.bundles())

    def activate_bundle(self, bundle_id: str, signature: Signature) -> PolicyAnswer:
        return self.send(calls.activate_bundle(bundle_id, signature))

    def readiness(self) -> Readiness:
        return self.send(calls.readiness())
