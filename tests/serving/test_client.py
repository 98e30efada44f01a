"""The client against the application itself, and against answers that fail: one law for the sync and the async one."""

import asyncio
import json
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from fake_service import FakeService
from pydantic import ValidationError
from test_api_keys import toml
from test_app import NOW

from serving.app import create_app
from serving.client import (
    AsyncClient,
    Client,
    ClientSettings,
    FeedbackEvent,
    FeedbackRequest,
    NoAnswer,
    PageRequest,
    PolicyUpdate,
    RankRequest,
    RecommendRequest,
    RetryPolicy,
    SearchRequest,
    ServiceProblem,
)
from serving.keys import KeyRing
from serving.openapi import OPERATIONS
from serving.problems import problem

HOME = RecommendRequest(surface="home", user_id="u1", k=3)


@pytest.fixture
def service():
    return FakeService()


@pytest.fixture
def app(service):
    return create_app(service, clock=lambda: NOW, keys=KeyRing.from_toml(toml(), file="keys.toml"))


def client(app, name="ops"):
    return Client("http://service", ClientSettings(key=f"key of {name}"), transport=httpx.WSGITransport(app=app))


def test_every_route_is_a_typed_call(app, service):
    with client(app) as caller:
        answer = caller.recommend(HOME)
        assert [item.item_id for item in answer.items] == ["item 0", "item 1", "item 2"]
        assert answer.request_id in service.slates
        assert caller.search(SearchRequest(user_id="u1", query="tea")).surface == "search"
        ranked = caller.rank(RankRequest(surface="home", user_id="u1", candidates=["item 3", "gone"]))
        assert ranked.unknown_candidates == ["gone"]
        rows = caller.page(PageRequest(rows=[HOME, HOME])).rows
        assert [item.item_id for item in rows[1].slate.items] == ["item 3", "item 4", "item 5"]
        click = FeedbackEvent(feedback_id="f1", event="click", time=NOW, user_id="u1", item_id="item 1")
        batch = FeedbackRequest(events=[click])
        assert [caller.feedback(batch).duplicates for _ in range(2)] == [0, 1]
        assert caller.explain(answer.request_id).items[0].rank == 1
        assert caller.readiness().ready
        service.bundle = None
        assert not caller.readiness().ready
    paths = {one.path for one in OPERATIONS if one.path.startswith("/v1")}
    assert len(paths) == 15  # of which each has a method: add one where you add a route


def test_a_refusal_is_raised_with_its_fields(app):
    with client(app, "shop") as caller:
        with pytest.raises(ServiceProblem, match="404 Not Found: page_item_id 'gone'") as met:
            caller.recommend(RecommendRequest(surface="product_page", user_id="u1", page_item_id="gone"))
        assert (met.value.status, len(met.value.request_id) > 0) == (404, True)
        with pytest.raises(ServiceProblem, match=r"400 .*\(time: .* lies in the future") as met:
            caller.recommend(HOME.model_copy(update={"time": datetime(2199, 1, 1, tzinfo=UTC)}))
        assert met.value.problems[0].field == "time"
        with pytest.raises(ServiceProblem, match="lacks the scope admin"):
            caller.policy()
    with pytest.raises(ValidationError, match="needs query"):  # before anything is sent
        RecommendRequest(surface="search", user_id="u1")


class Wire:
    """Answers one by one; an exception is raised. Keeps what was sent, and how long was waited."""

    def __init__(self, *answers):
        self.answers, self.sent, self.waits, self.now = list(answers), [], [], 0.0

    def answer(self, request):
        self.sent.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def call(self, kind, **settings):
        """The outcome of a call by a client of the kind."""
        settings = ClientSettings(clock=lambda: self.now, rng=np.random.default_rng(0), **settings)
        transport = httpx.MockTransport(self.answer)

        def sleep(seconds):
            self.waits.append(seconds)
            self.now += seconds

        if kind is Client:
            with Client("http://service", settings, transport=transport, sleep=sleep) as caller:
                return self.outcome(caller)

        async def of_loop():
            async def rest(seconds):
                sleep(seconds)

            async with AsyncClient("http://service", settings, transport=transport, sleep=rest) as caller:
                return await self.outcome(caller)

        return asyncio.run(of_loop())

    def outcome(self, caller):
        return caller.feedback(FeedbackRequest(events=[self.click])) if self.click else caller.recommend(HOME)

    click = None


def busy(seconds="1"):
    return httpx.Response(503, content=problem(503, "busy"), headers={"Retry-After": seconds})


def answered(service=None):
    answer = create_app(FakeService()).test_client().post("/v1/recommend", json={"surface": "home", "user_id": "u1"})
    return httpx.Response(200, content=answer.data)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_call_is_tried_again_as_the_same_request_within_its_time(kind):
    wire = Wire(busy("2"), httpx.ReadTimeout("late"), httpx.ConnectError("gone"), answered())
    assert len(wire.call(kind, timeout=5.0).items) == 20
    assert wire.waits[0] == 2.0  # as Retry-After says
    assert all(0 <= wait <= limit for wait, limit in zip(wire.waits[1:], (0.1, 0.2), strict=True))
    names = {json.loads(request.content)["request_id"] for request in wire.sent}
    assert (len(names), len(wire.sent)) == (1, 4)
    waited_for = [int(request.headers["X-Timeout-Ms"]) for request in wire.sent]
    assert waited_for[0] == 5000
    assert waited_for == sorted(waited_for, reverse=True)
    assert waited_for[1] == 3000


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_there_is_an_end_to_trying(kind):
    wire = Wire(*[httpx.ReadTimeout("late")] * 9)
    with pytest.raises(NoAnswer, match="no answer after 3 attempts: ReadTimeout late"):
        wire.call(kind, retry=RetryPolicy(attempts=3))
    wire = Wire(busy("60"), answered())
    with pytest.raises(ServiceProblem, match="503 Service Unavailable: busy"):
        wire.call(kind)  # a minute is more than it has
    wire = Wire(httpx.Response(502, text="<html>bad gateway"))
    with pytest.raises(ServiceProblem, match="502 Bad Gateway: <html>bad gateway"):
        wire.call(kind)
    wire = Wire(httpx.Response(200, text="{}"))
    with pytest.raises(NoAnswer, match="the answer is not of this service"):
        wire.call(kind)


def test_what_may_have_been_done_is_done_again_only_where_a_repeat_is_harmless():
    def put(*answers):
        wire = Wire(*answers)
        settings = ClientSettings(clock=lambda: wire.now, headers=lambda: {"traceparent": "00-1-2-01"})
        caller = Client("http://s", settings, transport=httpx.MockTransport(wire.answer), sleep=lambda _: None)
        with caller, pytest.raises((NoAnswer, ServiceProblem)):
            caller.put_policy(PolicyUpdate(policy="name = 1", owner="a", reason="b"))
        return wire

    assert len(put(httpx.ReadTimeout("late"), busy()).sent) == 1
    tried = put(httpx.ConnectError("refused"), busy(), httpx.Response(409, content=problem(409, "stale")))
    assert [request.headers["traceparent"] for request in tried.sent] == ["00-1-2-01"] * 3
