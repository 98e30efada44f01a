"""The HTTP service: routes parse, call the engine, and answer; the only file that knows Flask."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from time import monotonic, perf_counter
from typing import Any, TypeVar

import orjson
from flask import Flask, Response, current_app, g, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, UnsupportedMediaType

from features.spec import FeatureSpec
from features.store import StoreUnavailable
from marketplace.catalogue_records import CatalogueUpdate, Subject
from marketplace.log import CatalogueMoved, DuplicateRequest, LogUnavailable
from serving import answers, payloads
from serving.access_log import AnswerIds, record
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
from serving.console.blueprint import NAME as CONSOLE
from serving.console.blueprint import ConsoleContext, console_blueprint
from serving.console.sessions import ConsoleSettings, Sessions
from serving.deadline import ENVIRON, HEADER, ClientGone, Deadline, milliseconds
from serving.feedback_checks import Sender
from serving.keys import EVERYBODY, ROUTES, Caller, KeyRing, KeyScope
from serving.metrics import Metrics
from serving.openapi import document
from serving.openapi_page import page
from serving.problems import CONTENT_TYPE as PROBLEM
from serving.problems import GONE, RETRY_AFTER, problem
from serving.request import BadRequest, UnknownName
from serving.service import NotReady, ServiceProvider

UNKNOWN = "unknown"  # stands for every path that is no route
FUTURE = timedelta(minutes=5)  # how far a caller's clock may run ahead of ours


class NotAllowed(PermissionError):
    """The caller has no key (401), or not the scope (403)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


Payload = TypeVar("Payload", bound=payloads.Strict)


def create_app(
    services: ServiceProvider,
    *,
    metrics: Metrics | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    probe: Callable[[], None] = lambda: None,
    keys: KeyRing | None = None,
    console: ConsoleSettings | None = None,
    max_body_bytes: int = payloads.MAX_BODY_BYTES,
) -> Flask:
    """The WSGI application around an engine or a `LiveService`.

    `clock` gives the time of requests that carry none; `probe` raises LogUnavailable where nothing can be logged;
    `keys` None = whoever reaches the service may do everything; `console` None = there is none.
    """
    app = Flask("value-model", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    counts = metrics or Metrics()
    _add_accounting(app, counts)
    _add_callers(app, keys)
    _add_rankings(app, services, counts, clock)
    _add_feedback(app, services, counts, clock)
    _add_catalogue(app, services, counts, clock)
    _add_operations(app, services, counts, probe, clock)
    _add_refusals(app)
    if console is not None:
        sessions = Sessions(console.secret, keys)
        app.register_blueprint(console_blueprint(ConsoleContext(services, sessions, clock, console.folder)))
    return app


def _add_callers(app: Flask, keys: KeyRing | None) -> None:
    @app.before_request
    def who() -> None:
        g.caller, g.slate = EVERYBODY if keys is None else Caller("", frozenset()), None
        if request.blueprint == CONSOLE:
            return  # it looks at its own session
        kind, _, key = request.headers.get("Authorization", "").partition(" ")
        if keys is not None and kind.lower() == "bearer":
            g.caller = keys.caller(key.strip()) or g.caller
        scopes = ROUTES.get(request.url_rule.rule, (KeyScope.ADMIN,)) if request.url_rule else None
        if scopes is not None:
            _require(*scopes)


def _add_rankings(app: Flask, services: ServiceProvider, counts: Metrics, clock: Callable[[], datetime]) -> None:
    def answer(payload: payloads.RecommendRequest | payloads.RankRequest) -> Response:
        now = clock()
        _refuse_future("time", payload.time, now)
        if payload.seed is not None:
            _require(KeyScope.TEST, what="a seed of one's choice")
        services.follow()
        service = services.current()
        request = payload.to_request(request_id=uuid.uuid4().hex, now=now, spec=service.spec)
        ranking = service.rank(request, deadline=_deadline())
        counts.observe_ranking(ranking.seconds, candidates=ranking.slate.considered, left_out=ranking.left_out)
        counts.observe_rung(ranking.slate)
        counts.observe_variants(ranking.slate, without_unit=ranking.without_unit)
        terms = service.explain(ranking.slate) if payload.explain else None
        g.slate = ranking.slate.request_id
        return _json(answers.slate_answer(ranking, contributions=terms, with_source=g.caller.may(KeyScope.TEST)))

    @app.post("/v1/recommend")
    def recommend() -> Response:
        return answer(_parse(payloads.RecommendRequest))

    @app.post("/v1/rank")
    def rank() -> Response:
        return answer(_parse(payloads.RankRequest))


def _add_feedback(app: Flask, services: ServiceProvider, counts: Metrics, clock: Callable[[], datetime]) -> None:
    @app.post("/v1/feedback")
    def feedback() -> Response:
        batch, now = _parse(payloads.FeedbackRequest), clock()
        services.follow()
        service = services.current()
        for row, event in enumerate(batch.events):
            _refuse_future(f"events.{row}.time", event.time, now)
            if event.currency is not None and event.currency != service.currency:
                message = (
                    f"this market's amounts are in {service.currency}; {event.currency} was received. Convert first."
                )
                raise BadRequest(f"events.{row}.currency", message)
        table, details = answers.feedback_table(batch), answers.order_details(batch)
        receipt = service.record(table, sender=_sender(), details=details)
        counts.observe_feedback(receipt)
        return _json(asdict(receipt))


def _add_catalogue(app: Flask, services: ServiceProvider, counts: Metrics, clock: Callable[[], datetime]) -> None:
    def write(subject: Subject, updates: list[CatalogueUpdate]) -> CatalogueAnswer:
        receipt = services.current().put_catalogue(subject, updates, time=clock())
        for fate in receipt.fates:
            counts.catalogue.labels(subject.value, fate.value).inc()
        return catalogue_answer(updates, receipt)

    @app.put("/v1/items")
    def put_items() -> Response:
        batch = _parse(ItemsRequest)
        services.follow()
        updates = item_updates(batch, currency=services.current().currency)
        return _json(write(Subject.ITEM, updates).model_dump())

    @app.delete("/v1/items/<path:item_id>")
    def delete_item(item_id: str) -> Response:
        chosen = Removal.model_validate_strings({"item_id": item_id, **request.args.to_dict()}, strict=True)
        services.follow()
        answer = write(Subject.ITEM, [removal(chosen.item_id, version=chosen.version)])
        if answer.unknown:
            raise UnknownName(f"item {item_id!r} is not in the catalogue")
        return _json(answer.model_dump())

    @app.put("/v1/merchants")
    def put_merchants() -> Response:
        batch = _parse(MerchantsRequest)
        services.follow()
        return _json(write(Subject.MERCHANT, merchant_updates(batch)).model_dump())


def _add_operations(
    app: Flask,
    services: ServiceProvider,
    counts: Metrics,
    probe: Callable[[], None],
    clock: Callable[[], datetime],
) -> None:
    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"status": "ok"})

    @app.get("/readyz")
    def readyz() -> Response:
        services.follow()
        state, log_problem = services.state, _log_problem(probe)
        readiness = payloads.Readiness(
            ready=state.bundle is not None and log_problem is None,
            bundle=state.bundle,
            versions=dict(state.versions),
            experiments=answers.served_experiments(state.experiments, now=clock()),
            experiment_faults=dict(state.experiments.faults),
            reload_problem=state.problem,
            log_problem=log_problem,
        )
        return _json(readiness.model_dump(), status=200 if readiness.ready else 503)

    @app.get("/metrics")
    def metrics() -> Response:
        services.follow()
        state = services.state
        counts.ready.set(state.bundle is not None and _log_problem(probe) is None)
        counts.stale.set(state.problem is not None)
        shares = {placed.experiment.name: placed.shares(clock()) for placed in state.experiments.experiments}
        counts.observe_experiments(shares, faults=len(state.experiments.faults))
        return Response(counts.render(), content_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/openapi.json")
    def openapi() -> Response:
        services.follow()
        return _json(document(version=version("value-model"), spec=_spec(services)))

    @app.get("/docs")
    def docs() -> Response:
        services.follow()
        described = document(version=version("value-model"), spec=_spec(services))
        return Response(page(described), content_type="text/html; charset=utf-8")


def _add_accounting(app: Flask, counts: Metrics) -> None:
    @app.before_request
    def start() -> None:
        g.started = perf_counter()

    @app.after_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else UNKNOWN
        seconds, status = perf_counter() - g.started, response.status_code
        counts.observe_answer(route, status=status, seconds=seconds)
        ids = AnswerIds.of({name.lower(): value for name, value in request.headers.items()}, slate=g.slate)
        response.headers.update(ids.headers)
        record(ids, method=request.method, path=request.path, status=status, seconds=seconds, caller=g.caller.name)
        return response

    def account(
        headers: Mapping[str, str], *, method: str, path: str, status: int, seconds: float
    ) -> Mapping[str, str]:
        """Count what the server answers by itself; the headers of its ids."""
        counts.observe_answer(path if path in ROUTES else UNKNOWN, status=status, seconds=seconds)
        counts.observe_unanswered(status)
        ids = AnswerIds.of(headers, slate=None)
        record(ids, method=method, path=path, status=status, seconds=seconds, caller="")
        return ids.headers

    app.extensions["account"] = account


def _add_refusals(app: Flask) -> None:
    app.register_error_handler(ValidationError, _refuse_invalid)
    app.register_error_handler(BadRequest, lambda e: _refusal(400, "the request is malformed", (e.field, str(e))))
    app.register_error_handler(UnknownName, lambda e: _refusal(404, str(e.args[0])))
    app.register_error_handler(DuplicateRequest, lambda e: _refusal(409, str(e)))
    app.register_error_handler(NotAllowed, lambda e: _refusal(e.status, str(e)))
    app.register_error_handler(ClientGone, lambda e: _refusal(GONE, str(e)))
    app.register_error_handler(LogUnavailable, lambda e: _refusal(503, str(e)))
    app.register_error_handler(StoreUnavailable, lambda e: _refusal(503, str(e)))
    app.register_error_handler(CatalogueMoved, lambda e: _refusal(503, str(e)))
    app.register_error_handler(NotReady, lambda e: _refusal(503, f"not ready: {e}"))

    @app.errorhandler(HTTPException)
    def refuse_http(error: HTTPException) -> Response:
        details = {404: f"there is no route {request.path}", 405: f"{request.path} does not take {request.method}"}
        detail = details.get(error.code or 500, error.description or error.name)
        refusal = _refusal(error.code or 500, detail)
        refusal.headers.update({name: value for name, value in error.get_headers() if name == "Allow"})
        return refusal

    @app.errorhandler(Exception)
    def refuse_unforeseen(error: Exception) -> Response:
        app.logger.exception("unforeseen error", exc_info=error)
        return _refusal(500, "the service failed; its log says why")


def _require(*scopes: KeyScope, what: str = "") -> None:
    """Raise NotAllowed unless the caller has one of the scopes."""
    if any(g.caller.may(scope) for scope in scopes):
        return
    needed = " or ".join(scopes)
    if not g.caller.scopes:
        raise NotAllowed(401, "send an API key of this service, with the header Authorization: Bearer KEY")
    message = f"the key {g.caller.name!r} lacks the scope {needed}" + (f", which {what} needs" if what else "")
    raise NotAllowed(403, message)


def _sender() -> Sender:
    """What the caller's events may be."""
    if g.caller is EVERYBODY:
        return Sender.ANYBODY
    return Sender.TRUSTED if g.caller.may(KeyScope.EVENTS) else Sender.SHOPPERS


def _deadline() -> Deadline:
    """The caller's; from the time that the server read the request, where it knows that."""
    wait = milliseconds(request.headers.get(HEADER)) / 1000
    known: Deadline | None = request.environ.get(ENVIRON)
    return known or Deadline(monotonic() + wait)


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


def _refuse_invalid(error: ValidationError) -> Response:
    problems = [
        (".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, "))
        for problem in error.errors(include_url=False, include_context=False, include_input=False)[:20]
    ]
    return _refusal(400, "the request is malformed", *problems)


def _refuse_future(field: str, time: datetime | None, now: datetime) -> None:
    if time is not None and time > now + FUTURE:
        raise BadRequest(field, f"{time.isoformat()} lies in the future; it is {now.isoformat()} here")


def _parse(model: type[Payload]) -> Payload:
    """The body as `model`; pydantic's own JSON parser checks it in the same pass."""
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("send JSON, with the header Content-Type: application/json")
    body = _body(request.content_length, most=current_app.config["MAX_CONTENT_LENGTH"])
    if not body:
        raise BadRequest("", "the body is empty; send a JSON object")
    return model.model_validate_json(body)


def _body(length: int | None, *, most: int) -> bytes:
    """All of the body, of its `length` (None = chunked); raises BadRequest for one that is malformed or cut short."""
    if length is None and not request.environ.get("wsgi.input_terminated"):
        return b""
    body = b""
    if length is None or length <= most:
        try:
            body = request.environ["wsgi.input"].read(most + 1 if length is None else length)
        except Exception as error:  # the server's own, of whichever kind
            raise BadRequest("", f"the body cannot be read: {type(error).__name__} {error}".strip()) from error
    if len(body) > most or (length or 0) > most:
        raise RequestEntityTooLarge(f"the body is larger than {most} bytes; send less at a time")
    if length is not None and len(body) < length:
        raise BadRequest("", f"the body ends after {len(body)} of {length} bytes")
    return body


def _refusal(status: int, detail: str, *problems: tuple[str, str]) -> Response:
    refusal = Response(problem(status, detail, *problems), status, content_type=PROBLEM)
    if status == 503:
        refusal.headers["Retry-After"] = RETRY_AFTER
    return refusal


def _json(content: Any, *, status: int = 200) -> Response:
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z)
    return Response(body, status=status, content_type="application/json")
