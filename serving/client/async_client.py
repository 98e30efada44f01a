"""The client of an event loop: every route of the service as a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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


class AsyncClient:
    """The service at `address`, for one event loop. Close it, or use it in `async with`.

    `transport` stands in for the network, `sleep` for waiting.
    """

    def __init__(
        self,
        address: str,
        settings: ClientSettings | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings, self._sleep = settings or ClientSettings(), sleep
        self._wire = httpx.AsyncClient(base_url=address, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def close(self) -> None:
        await self._wire.aclose()

    async def send(self, call: Call[Answer]) -> Answer:
        """Raises ServiceProblem where it is refused, NoAnswer where no answer comes in time."""
        attempts = Attempts(call, self._settings)
        while True:
            try:
                outcome = attempts.answer(await self._wire.request(**attempts.request()))
            except httpx.TransportError as error:
                outcome = attempts.after(error)
            if not isinstance(outcome, float):
                return outcome
            await self._sleep(outcome)

    async def recommend(self, request: RecommendRequest) -> SlateAnswer:
        return await self.send(calls.recommend(request))

    async def search(self, request: SearchRequest) -> SlateAnswer:
        return await self.send(calls.search(request))

    async def rank(self, request: RankRequest) -> SlateAnswer:
        return await self.send(calls.rank(request))

    async def page(self, request: PageRequest) -> PageAnswer:
        return await self.send(calls.page(request))

    async def explain(self, request_id: str) -> SlateExplanation:
        return await self.send(calls.explain(request_id))

    async def feedback(self, batch: FeedbackRequest) -> FeedbackAnswer:
        return await self.send(calls.feedback(batch))

    async def put_items(self, batch: ItemsRequest) -> CatalogueAnswer:
        return await self.send(calls.put_items(batch))

    async def delete_item(self, item_id: str, *, version: int | None = None) -> CatalogueAnswer:
        return await self.send(calls.delete_item(item_id, version=version))

    async def put_merchants(self, batch: MerchantsRequest) -> CatalogueAnswer:
        return await self.send(calls.put_merchants(batch))

    async def policy(self) -> PolicyAnswer:
        return await self.send(calls.policy())

    async def put_policy(self, update: PolicyUpdate) -> PolicyAnswer:
        return await self.send(calls.put_policy(update))

    async def roll_back_policy(self, back: Rollback) -> PolicyAnswer:
        return await self.send(calls.roll_back_policy(back))

    async def policy_versions(self, *, most: int = 50, before: int | None = None) -> PolicyHistory:
        return await self.send(calls.policy_versions(most=most, before=before))

    async def policy_version(self, number: int) -> VersionAnswer:
        return await self.send(calls.policy_version(number))

    async def bundles(self) -> BundleList:
        return await self.send(calls.bundles())

    async def activate_bundle(self, bundle_id: str, signature: Signature) -> PolicyAnswer:
        return await self.send(calls.activate_bundle(bundle_id, signature))

    async def readiness(self) -> Readiness:
        return await self.send(calls.readiness())
