"""What the routes of one application are made with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from serving.metrics import Metrics
from serving.policies_in_force import PoliciesInForce
from serving.service import ServiceProvider


@dataclass(frozen=True, eq=False)
class RouteContext:
    """`clock` gives the time; `probe` raises LogUnavailable where nothing can be logged; `policies` BundleError where
    none can be put in force."""

    services: ServiceProvider
    counts: Metrics
    clock: Callable[[], datetime]
    probe: Callable[[], None]
    policies: Callable[[], PoliciesInForce]
