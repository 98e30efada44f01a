"""The console's routes: they parse, look, and render; what is done is done by the service and the desk.

Reads need a key's scope, writes the scope admin and the session's CSRF token. Where no keys are configured whoever
reaches the service may do all, as on its other routes.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, g, redirect, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from desk.versions import Versions
from features.store import StoreUnavailable
from marketplace.log import CatalogueMoved, LogUnavailable
from serving.bundle_service import POLICIES
from serving.console.desk_line import DeskAway, DeskCall, DeskLine
from serving.console.messages import Language
from serving.console.pages import DESK_PARTS, ROOT, PageView, render
from serving.console.rival_policy import named_versions, rival_policy, shipped_names
from serving.console.sessions import COOKIE, LASTS, Sessions, new_session
from serving.console.tried_slate import MOST_SHOWN, SURFACES, TriedSlate, request_of, tried_slate
from serving.keys import KeyScope
from serving.malformed import Malformed
from serving.manifest import BundleError
from serving.metrics import Metrics
from serving.rate_limits import RateExceeded
from serving.request import BadRequest, UnknownName
from serving.scorer import ScoringFailed
from serving.service import NotReady, ServiceProvider
from serving.soundness import NotFinite

logger = logging.getLogger(__name__)
NAME = "console"
# What each read needs, one of them; a part that is not named here needs the scope admin, as every write does.
READS: dict[str, tuple[KeyScope, ...]] = {"try": (KeyScope.RANK, KeyScope.TEST)}
PUBLIC = ("static", "front", "login", "sign_in", "logout")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class NotSignedIn(PermissionError):
    """No key signed in that may see the page."""


class Forbidden(PermissionError):
    """The key lacks a scope, or a write brought no token of the session; holds the message's key."""


@dataclass(frozen=True, eq=False)
class ConsoleContext:
    """What the routes are made with; `folder` of the service's bundles, None = there is none."""

    services: ServiceProvider
    sessions: Sessions
    clock: Callable[[], datetime]
    line: DeskLine
    metrics: Metrics
    folder: Path | None = None

    @property
    def versions(self) -> Versions | None:
        """What was put in force before."""
        return None if self.folder is None else Versions(self.folder / POLICIES)


def console_blueprint(context: ConsoleContext) -> Blueprint:
    """Everything under /console."""
    console = Blueprint(NAME, __name__, url_prefix=ROOT, static_folder="static")
    _add_guard(console, context.sessions)
    _add_sessions(console, context.sessions, context.metrics)
    _add_trials(console, context)
    _add_parts(console, context.line)
    _add_refusals(console)
    return console


def _add_guard(console: Blueprint, sessions: Sessions) -> None:
    @console.url_value_preprocessor
    def take_language(endpoint: str | None, values: dict[str, Any] | None) -> None:
        g.language = Language((values or {}).pop("language", None) or _preferred())

    @console.before_request
    def guard() -> None:
        known = sessions.read(request.cookies.get(COOKIE, ""))
        g.session, g.begun = known or new_session(), known is None
        g.caller, g.open_to_all = sessions.caller(g.session), sessions.keys is None
        endpoint, writes = (request.endpoint or "").rpartition(".")[2], request.method == "POST"
        if writes and (g.begun or not g.session.proves(_token())):
            raise Forbidden("refused_token")
        if endpoint in PUBLIC:
            return
        if not g.caller.scopes:
            raise NotSignedIn
        needed = (KeyScope.ADMIN,) if writes else READS.get(endpoint, (KeyScope.ADMIN,))
        if not any(g.caller.may(scope) for scope in needed):
            raise Forbidden("refused_scope")
        sessions.spend(g.caller)

    @console.after_request
    def protect(response: Response) -> Response:
        response.headers.update(HEADERS)
        if request.endpoint != f"{NAME}.static":
            response.headers["Cache-Control"] = "no-store"
            if g.begun:
                cookie = sessions.cookie(g.session)
                response.set_cookie(COOKIE, cookie, max_age=LASTS, path=ROOT, httponly=True, samesite="Strict")
        return response


def _add_sessions(console: Blueprint, sessions: Sessions, metrics: Metrics) -> None:
    @console.get("")
    def front() -> AnyResponse:
        return redirect(f"{ROOT}/{g.language}/try", 303)

    @console.get("/<any(en, ar):language>/login")
    def login() -> str:
        return render("login", _view("login"), failed=False)

    @console.post("/<any(en, ar):language>/login")
    def sign_in() -> AnyResponse | tuple[str, int]:
        try:
            known = sessions.sign_in(request.form.get("key", "").strip(), address=request.remote_addr or "")
        except RateExceeded:
            metrics.sign_ins.labels("refused").inc()
            raise
        metrics.sign_ins.labels("failed" if known is None else "accepted").inc()
        if known is None:
            return render("login", _view("login"), failed=True), 401
        (g.session, g.caller), g.begun = known, True
        return redirect(f"{ROOT}/{g.language}/try", 303)

    @console.post("/<any(en, ar):language>/logout")
    def logout() -> AnyResponse:
        g.session, g.begun = new_session(), True
        return redirect(f"{ROOT}/{g.language}/login", 303)


def _add_trials(console: Blueprint, context: ConsoleContext) -> None:
    def tried(form: Mapping[str, str]) -> tuple[list[TriedSlate], str]:
        """What is served and what would be under the other policy, as far as they can be ranked, and what hinders."""
        service, payload = context.services.current(), request_of(form)
        now, name = context.clock(), f"trial {uuid.uuid4().hex}"
        trial = payload.to_request(request_id=name, now=now, spec=service.spec)
        rival = rival_policy(form, service.policy, context.versions)
        policies = (None,) if rival is None else (None, rival)
        slates: list[TriedSlate] = []
        try:
            for policy in policies:
                preview = service.preview(trial, policy=policy)
                slates.append(tried_slate(preview, with_source=g.caller.may(KeyScope.TEST)))
        except (ScoringFailed, NotFinite) as error:
            return slates, str(error)
        return slates, ""

    @console.get("/<any(en, ar):language>/try", endpoint="try")
    def try_request() -> tuple[str, int]:
        context.services.follow()
        form, problems = request.args.to_dict(), []
        slates, unranked = list[TriedSlate](), ""
        try:
            if form:
                slates, unranked = tried(form)
        except Malformed as error:
            problems = [f"{field}: {message}" if field else message for field, message in error.problems]
        except (BadRequest, UnknownName, BundleError) as error:
            problems = [str(error.args[0])]
        slate, rival = (*slates, None, None)[:2]
        values: dict[str, Any] = {"form": form, "slate": slate, "rival": rival, "problems": problems}
        values["unranked"] = unranked
        if not _in_part():
            policy = context.services.current().policy
            values |= {"surfaces": SURFACES, "most": MOST_SHOWN, "versions": named_versions(context.versions)}
            values |= {"shipped": shipped_names(policy.currency), "sample": f"{policy.weights[0].name}=0.5"}
        page = render("slate" if _in_part() else "try", _view("try"), in_part=_in_part(), **values)
        return page, 400 if problems else 200


def _add_parts(console: Blueprint, line: DeskLine) -> None:
    def answer(part: str, action: str, form: Mapping[str, str]) -> tuple[str, int]:
        person = hashlib.sha256(g.session.csrf.encode()).hexdigest()
        answered = line.answer(DeskCall(part, action, _view(part), person, form, _in_part()))
        return answered.html, answered.status

    @console.get(f"/<any(en, ar):language>/<any({', '.join(DESK_PARTS)}):part>")
    def look(part: str) -> tuple[str, int]:
        return answer(part, "", request.args.to_dict())

    @console.post(f"/<any(en, ar):language>/<any({', '.join(DESK_PARTS)}):part>/<action>")
    def act(part: str, action: str) -> tuple[str, int]:
        return answer(part, action, {name: value for name, value in request.form.items() if name != "csrf"})


def _add_refusals(console: Blueprint) -> None:
    @console.errorhandler(NotSignedIn)
    def to_login(error: NotSignedIn) -> AnyResponse:
        place = f"{ROOT}/{g.language}/login"
        if _in_part():
            return Response("", 401, {"HX-Redirect": place})
        return redirect(place, 303)

    def refused(status: int, key: str, detail: str = "") -> tuple[str, int]:
        page = "problem_part" if _in_part() else "problem"
        return render(page, _view("try"), key=key, detail=detail), status

    @console.errorhandler(Forbidden)
    def forbid(error: Forbidden) -> tuple[str, int]:
        return refused(403, str(error))

    @console.errorhandler(RateExceeded)
    def slow_down(error: RateExceeded) -> tuple[str, int, dict[str, str]]:
        return *refused(429, "refused_rate", str(error)), {"Retry-After": error.retry_after}

    @console.errorhandler(DeskAway)
    def away(error: DeskAway) -> tuple[str, int]:
        return refused(503, "desk_away", str(error))

    for kind in (NotReady, LogUnavailable, StoreUnavailable, CatalogueMoved):
        console.register_error_handler(kind, lambda error: refused(503, "refused_not_ready", str(error)))

    @console.errorhandler(Exception)
    def fail(error: Exception) -> tuple[str, int]:
        if isinstance(error, HTTPException):
            return refused(error.code or 500, "refused", error.description or error.name)
        logger.exception("the console failed", exc_info=error)
        return refused(500, "refused_failed")


def _view(path: str) -> PageView:
    signed_in = bool(g.session.mark)
    return PageView(g.language, path, g.caller.name, g.session.csrf, g.open_to_all, signed_in)


def _in_part() -> bool:
    """Whether a part of a page is to be swapped, not a page to be shown."""
    return "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers


def _token() -> str:
    return request.headers.get("X-CSRF-Token") or request.form.get("csrf", "")


def _preferred() -> str:
    return request.accept_languages.best_match([str(language) for language in Language]) or Language.ENGLISH
