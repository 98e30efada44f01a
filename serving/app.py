"""The HTTP service: one WSGI application of the routes by subject (`serving.routes`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from flask import Flask

from serving import payloads
from serving.console.blueprint import ConsoleContext, console_blueprint
from serving.console.desk_line import DeskLine
from serving.console.sessions import ConsoleSettings, Sessions
from serving.keys import Keys
from serving.manifest import BundleError
from serving.metrics import Metrics
from serving.policies_in_force import PoliciesInForce
from serving.rate_limits import RateLimits
from serving.routes.accounting import add_accounting
from serving.routes.callers import add_callers
from serving.routes.catalogue import add_catalogue
from serving.routes.context import RouteContext
from serving.routes.feedback import add_feedback
from serving.routes.operations import add_operations
from serving.routes.policies import add_policies
from serving.routes.rankings import add_rankings
from serving.routes.refusals import add_refusals
from serving.service import ServiceProvider
from serving.tracing import Tracing


def no_policies() -> PoliciesInForce:
    """Of a service whose bundle lies in no folder that it may write to."""
    raise BundleError("this service was started without a folder of bundles: nothing can be put in force through it.")


def create_app(
    services: ServiceProvider,
    *,
    metrics: Metrics | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    probe: Callable[[], None] = lambda: None,
    policies: Callable[[], PoliciesInForce] = no_policies,
    keys: Keys | None = None,
    console: ConsoleSettings | None = None,
    tracing: Tracing | None = None,
    max_body_bytes: int = payloads.MAX_BODY_BYTES,
) -> Flask:
    """The WSGI application around an engine or a `LiveService`.

    `clock` gives the time of requests that carry none; `probe` raises LogUnavailable where nothing can be logged;
    `policies` gives those of the folder that the service follows; `keys` None = whoever reaches the service may do
    everything; `console` None = there is none; `tracing` None = no spans are made.
    """
    app = Flask("value-model", static_folder=None)
    app.url_map.merge_slashes = False  # the item "/a" is another than "a": no redirect from one to the other
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    context = RouteContext(services, metrics or Metrics(), clock, probe, policies)
    add_accounting(app, context.counts, tracing)
    limits = RateLimits()
    add_callers(app, keys, limits)
    for add in (add_rankings, add_feedback, add_catalogue, add_policies, add_operations):
        add(app, context)
    add_refusals(app)
    if console is not None:
        sessions, line = Sessions(console.secret, keys, limits), DeskLine(console.desk)
        shown = ConsoleContext(services, sessions, clock, line, context.counts, console.folder)
        app.register_blueprint(console_blueprint(shown))
    return app
