"""A service whose answers are easy to predict: item i's value is minus its place among the candidates."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from features.spec import FeatureSpec
from marketplace.log import DuplicateRequest, Receipt, UnknownRequest
from marketplace.slate import Slate
from serving.deadline import NO_DEADLINE
from serving.feedback_checks import NO_DETAILS, Sender
from serving.manifest import BundleError
from serving.request import Request, UnknownName
from serving.service import Preview, Ranking, ServiceState
from value_model.formula import default_policy

CATALOGUE = tuple(f"item {number}" for number in range(30))


class FakeService:
    """Keeps what it was given, in memory."""

    currency = "SAR"
    outgrown = False
    spec = FeatureSpec(())
    policy = default_policy()

    def __init__(self, bundle: str | None = "b1") -> None:
        self.slates: dict[str, Slate] = {}
        self.feedback: dict[str, dict] = {}
        self.bundle = bundle

    def follow(self) -> None:
        """One service for good."""

    def current(self) -> FakeService:
        return self

    def close(self) -> None:
        """Nothing to keep."""

    @property
    def state(self) -> ServiceState:
        return ServiceState(self.bundle, {"ranker": "r1"})

    def rank(self, request: Request, *, deadline=NO_DEADLINE) -> Ranking:
        if request.request_id in self.slates:
            raise DuplicateRequest(request.request_id)
        if request.page_item_id is not None and request.page_item_id not in CATALOGUE:
            raise UnknownName(f"page_item_id {request.page_item_id!r} is not in the catalogue")
        items = [name for name in request.candidates or CATALOGUE if name in CATALOGUE and name not in request.exclude]
        slate = fake_slate(request, items)
        if "until" in request.context:
            hold(Path(request.context["until"]))
        deadline.check()
        self.slates[request.request_id] = slate
        unknown = tuple(name for name in request.candidates or () if name not in CATALOGUE)
        return Ranking(slate, {"scorer": 0.001}, unknown)

    def preview(self, request: Request, *, policy=None) -> Preview:
        if request.page_item_id is not None and request.page_item_id not in CATALOGUE:
            raise UnknownName(f"page_item_id {request.page_item_id!r} is not in the catalogue")
        slate = fake_slate(request, list(CATALOGUE if policy is None else CATALOGUE[1:] + CATALOGUE[:1]))
        names = [f"<b>{name}</b>" for name in slate.item_id]
        return Preview(Ranking(slate, {"scorer": 0.001}), self.explain(slate), names)

    def logged(self, request_id: str) -> Slate:
        if request_id not in self.slates:
            raise UnknownRequest(request_id)
        return self.slates[request_id]

    def explain(self, slate: Slate) -> Mapping[str, np.ndarray]:
        return {"clicks": slate.value - 1.0, "merchant": np.ones(len(slate))}

    def record(self, feedback: pa.Table, *, sender=Sender.ANYBODY, details=NO_DETAILS) -> Receipt:
        self.sender, self.details = sender, details
        rows = feedback.to_pylist()
        new = {row["feedback_id"]: row for row in rows if row["feedback_id"] not in self.feedback}
        self.feedback |= new
        return Receipt(len(new), len(rows) - len(new))


def fake_slate(request: Request, items: list[str]) -> Slate:
    n = len(items)
    position = np.arange(1, n + 1, dtype=np.int32)
    position[request.k :] = 0
    return Slate(
        request_id=request.request_id,
        time=request.time,
        surface=request.surface,
        user_id=request.user_id,
        currency="SAR",
        item_id=np.array(items, object),
        merchant_id=np.array(["m"] * n, object),
        price=np.ones(n),
        source=np.array(["caller"] * n, object),
        retrieval_score=np.zeros(n, np.float32),
        merchant_value=np.zeros(n),
        value=-np.arange(n, dtype=np.float64),
        position=position,
        propensity=np.where(position > 0, 1.0, np.nan),
        predictions={"ctr": np.full(n, 0.5)},
        **{
            f"{part}_version": part for part in ("retriever", "index", "ranker", "calibrator", "policy", "feature_spec")
        },
    )


def hold(until: Path) -> None:
    """Say that it has begun, and wait for a file."""
    until.with_suffix(".begun").touch()
    while not until.exists():
        time.sleep(0.005)


def application():
    """The WSGI application around one, for a server; its policies wait for the file that POLICIES_UNTIL names."""
    from serving.app import create_app

    app = create_app(FakeService(), policies=slow_policies)
    app.extensions["queue_seconds"] = 0.3
    return app


def slow_policies():
    hold(Path(os.environ["POLICIES_UNTIL"]))
    raise BundleError("there are none")
