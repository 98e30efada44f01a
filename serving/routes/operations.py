"""/healthz, /readyz, /metrics, and the service's own description."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from flask import Flask, Response

from features.spec import FeatureSpec
from marketplace.log import LogUnavailable
from serving import answers, payloads
from serving.openapi import document
from serving.openapi_page import page
from serving.routes.bodies import json_answer
from serving.routes.context import RouteContext
from serving.service import NotReady, ServiceProvider


def add_operations(app: Flask, context: RouteContext) -> None:
    services, counts = context.services, context.counts

    @app.get("/healthz")
    def healthz() -> Response:
        return json_answer({"status": "ok"})

    @app.get("/readyz")
    def readyz() -> Response:
        services.follow()
        state, log_problem = services.state, _log_problem(context.probe)
        readiness = payloads.Readiness(
            ready=state.bundle is not None and log_problem is None,
            bundle=state.bundle,
            versions=dict(state.versions),
            experiments=answers.served_experiments(state.experiments, now=context.clock()),
            experiment_faults=dict(state.experiments.faults),
            reload_problem=state.problem,
            log_problem=log_problem,
        )
        return json_answer(readiness.model_dump(), status=200 if readiness.ready else 503)

    @app.get("/metrics")
    def metrics() -> Response:
        services.follow()
        state = services.state
        counts.ready.set(state.bundle is not None and _log_problem(context.probe) is None)
        counts.stale.set(state.problem is not None)
        shares = {placed.experiment.name: placed.shares(context.clock()) for placed in state.experiments.experiments}
        counts.observe_experiments(shares, faults=len(state.experiments.faults))
        if state.index is not None:
            counts.observe_index(state.index)
        return Response(counts.render(), content_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/openapi.json")
    def openapi() -> Response:
        services.follow()
        return json_answer(document(version=version("value-model"), spec=_spec(services)))

    @app.get("/docs")
    def docs() -> Response:
        services.follow()
        described = document(version=version("value-model"), spec=_spec(services))
        return Response(page(described), content_type="text/html; charset=utf-8")


def _log_problem(probe: Callable[[], None]) -> str | None:
    """Why nothing can be logged now; None where it can."""
    try:
        probe()
    except LogUnavailable as error:
        return str(error)
    return None


def _spec(services: ServiceProvider) -> FeatureSpec:
    """The features of the serving bundle; none before there is one."""
    try:
        return services.current().spec
    except NotReady:
        return FeatureSpec(())
