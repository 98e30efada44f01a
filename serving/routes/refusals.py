"""Refusals: every error that a route raises, as problem details with its status."""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from desk.policy_changes import MergeConflict
from desk.publication import RefusedError
from desk.versions import DamagedHistory, UnknownVersion
from features.store import StoreUnavailable
from marketplace.log import CatalogueMoved, DuplicateRequest, LogUnavailable, UnknownRequest
from serving.deadline import ClientGone
from serving.ladder import NotAnswerable
from serving.malformed import Malformed
from serving.manifest import BundleError
from serving.policies_in_force import FolderUnavailable, UnknownBundle
from serving.problems import CONTENT_TYPE, GONE, RETRY_AFTER, problem
from serving.rate_limits import RateExceeded
from serving.request import BadRequest, UnknownName
from serving.routes.callers import NotAllowed
from serving.service import NotReady
from value_model.formula import PolicyError

ROW_REFUSALS = (
    *(BadRequest, UnknownName, DuplicateRequest, CatalogueMoved),
    *(LogUnavailable, StoreUnavailable, NotAnswerable),
)
MALFORMED = "the request is malformed"
STATUSES: dict[type[Exception], int] = {
    UnknownName: 404,
    UnknownBundle: 404,
    UnknownVersion: 404,
    UnknownRequest: 404,
    DuplicateRequest: 409,
    RefusedError: 409,
    MergeConflict: 409,
    BundleError: 409,
    ClientGone: GONE,
    LogUnavailable: 503,
    StoreUnavailable: 503,
    CatalogueMoved: 503,
    NotAnswerable: 503,
    DamagedHistory: 503,
    FolderUnavailable: 503,
}


def add_refusals(app: Flask) -> None:
    for kind in (*STATUSES, BadRequest):
        app.register_error_handler(kind, refused)
    app.register_error_handler(Malformed, lambda error: refusal(400, MALFORMED, *error.problems))
    app.register_error_handler(PolicyError, _refuse_policy)
    app.register_error_handler(NotAllowed, lambda error: refusal(error.status, str(error)))
    app.register_error_handler(RateExceeded, _refuse_rate)
    app.register_error_handler(NotReady, lambda error: refusal(503, f"not ready: {error}"))
    app.register_error_handler(HTTPException, _refuse_http)

    @app.errorhandler(Exception)
    def refuse_unforeseen(error: Exception) -> Response:
        app.logger.exception("unforeseen error", exc_info=error)
        return refusal(500, "the service failed; its log says why")


def refused(error: Exception) -> Response:
    """What a caller is told of BadRequest, or of one of STATUSES."""
    if isinstance(error, BadRequest):
        return refusal(400, MALFORMED, (error.field, str(error)))
    status = next(status for kind, status in STATUSES.items() if isinstance(error, kind))
    return refusal(status, str(error.args[0]))


def refusal(status: int, detail: str, *problems: tuple[str, str]) -> Response:
    answer = Response(problem(status, detail, *problems), status, content_type=CONTENT_TYPE)
    if status == 503:
        answer.headers["Retry-After"] = RETRY_AFTER
    return answer


def _refuse_policy(error: PolicyError) -> Response:
    return refusal(400, "the policy cannot be used", *(("policy", str(finding)) for finding in error.findings[:20]))


def _refuse_rate(error: RateExceeded) -> Response:
    answer = refusal(429, str(error))
    answer.headers["Retry-After"] = error.retry_after
    return answer


def _refuse_http(error: HTTPException) -> Response:
    details = {404: f"there is no route {request.path}", 405: f"{request.path} does not take {request.method}"}
    detail = details.get(error.code or 500, error.description or error.name)
    answer = refusal(error.code or 500, detail)
    answer.headers.update({name: value for name, value in error.get_headers() if name == "Allow"})
    return answer
