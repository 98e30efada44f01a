"""Callers: who holds the key of a request, and what they may do."""

from __future__ import annotations

from functools import partial
from time import monotonic

from flask import Flask, g, request

from serving.console.blueprint import NAME as CONSOLE
from serving.deadline import ENVIRON, HEADER, Deadline, milliseconds
from serving.feedback_checks import Sender
from serving.keys import EVERYBODY, ROUTES, Caller, Keys, KeyScope, Priority
from serving.rate_limits import RateLimits


class NotAllowed(PermissionError):
    """The caller has no key (401), or not the scope (403)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def add_callers(app: Flask, keys: Keys | None, limits: RateLimits) -> None:
    """Before each request: `g.caller`, who must have a scope of the route, and not ask too often.

    `extensions["can_wait"]`: whether a request may wait by its key; of its headers, whose names are in small letters.
    """
    holder = partial(_holder, keys=keys)
    app.extensions["can_wait"] = lambda headers: holder(headers.get("authorization")).priority is not Priority.LOW

    @app.before_request
    def who() -> None:
        g.caller, g.slate = holder(request.headers.get("Authorization")), None
        if request.blueprint == CONSOLE:
            return  # it looks at its own session
        scopes = ROUTES.get(request.url_rule.rule, (KeyScope.ADMIN,)) if request.url_rule else None
        if scopes is not None:
            require(*scopes)
            if g.caller.limit is not None:
                limits.spend(g.caller.name, g.caller.limit)


def _holder(authorization: str | None, keys: Keys | None) -> Caller:
    """Who sends this header; nobody in particular without a key that is known."""
    if keys is None:
        return EVERYBODY
    kind, _, key = (authorization or "").partition(" ")
    known = keys.caller(key.strip()) if kind.lower() == "bearer" else None
    return known or Caller("", frozenset())


def require(*scopes: KeyScope, what: str = "") -> None:
    """Raise NotAllowed unless the caller has one of the scopes."""
    if any(g.caller.may(scope) for scope in scopes):
        return
    needed = " or ".join(scopes)
    if not g.caller.scopes:
        raise NotAllowed(401, "send an API key of this service, with the header Authorization: Bearer KEY")
    message = f"the key {g.caller.name!r} lacks the scope {needed}" + (f", which {what} needs" if what else "")
    raise NotAllowed(403, message)


def sender() -> Sender:
    """What the caller's events may be."""
    if g.caller is EVERYBODY:
        return Sender.ANYBODY
    return Sender.TRUSTED if g.caller.may(KeyScope.EVENTS) else Sender.SHOPPERS


def deadline() -> Deadline:
    """The caller's; from the time that the server read the request, where it knows that."""
    wait = milliseconds(request.headers.get(HEADER)) / 1000
    known: Deadline | None = request.environ.get(ENVIRON)
    return known or Deadline(monotonic() + wait)
