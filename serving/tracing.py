"""Tracing: spans of every answer for OpenTelemetry, made once it is known, where the environment names a collector.

    POST /v1/recommend          child of the caller's traceparent, with its route and status
        features, retrieval, features, model, slate, log        what ran on the way, in its order, by `serving.stages`

The environment variables are OpenTelemetry's own (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from serving.access_log import AnswerIds
from serving.rungs import rung_of
from serving.service import Ranking

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL, SERVICE = "http/protobuf", "value-model"
PARTS = {
    **dict.fromkeys(("follow", "store_user", "store_items", "encode"), "features"),
    **dict.fromkeys(("embed", "retrieve"), "retrieval"),
    **dict.fromkeys(("first_phase", "score"), "model"),
    **dict.fromkeys(("value", "choose", "slate"), "slate"),
    "log": "log",
}  # of a ranking, by stage


class NoTracing(RuntimeError):
    """The environment names a collector, and nothing can be sent to it."""


@dataclass(frozen=True, eq=False)
class TracedRanking:
    """One ranking of an answer, and when it began, by `time.perf_counter`."""

    began: float
    ranking: Ranking

    @property
    def facts(self) -> dict[str, str | int]:
        slate = self.ranking.slate
        return {"value_model.rung": rung_of(slate), "value_model.candidates": slate.considered}

    def parts(self) -> Iterator[tuple[str, float, float]]:
        """(part, began, ended) in order; what ran again, as the catalogue had moved, counts where it ran first."""
        seconds, end = self.ranking.seconds, self.began
        for part, stages in groupby(seconds, lambda stage: PARTS.get(stage, stage)):
            begin, end = end, end + sum(seconds[stage] for stage in stages)
            yield part, begin, end


class Tracing:
    """Spans by an OpenTelemetry `provider`, which decides what is sampled and where it goes."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider, self._tracer = provider, provider.get_tracer(SERVICE)

    def traced(
        self,
        ids: AnswerIds,
        headers: Mapping[str, str],
        *,
        name: str,
        began: float,
        facts: Mapping[str, Any],
        rankings: Iterable[TracedRanking],
    ) -> AnswerIds:
        """The ids of an answer with those of its span, which ends now; `headers` of the request, in small letters."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        now = time.perf_counter()
        shift = time.time_ns() - int(1e9 * now)  # of the clock, in ns since 1970

        def nanoseconds(moment: float) -> int:
            return shift + int(1e9 * moment)

        caller: Context = TraceContextTextMapPropagator().extract(dict(headers))
        span = self._tracer.start_span(
            name,
            context=caller,
            kind=SpanKind.SERVER,
            attributes={**facts, "value_model.request_id": ids.request_id},
            start_time=nanoseconds(began),
        )
        context = set_span_in_context(span)
        for ranking in rankings if span.is_recording() else ():
            for part, begin, end in ranking.parts():
                child = self._tracer.start_span(
                    part, context=context, attributes=ranking.facts, start_time=nanoseconds(begin)
                )
                child.end(nanoseconds(end))
        if facts["http.response.status_code"] >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(nanoseconds(now))
        known = span.get_span_context()
        return replace(
            ids, trace_id=f"{known.trace_id:032x}", span_id=f"{known.span_id:016x}", flags=f"{known.trace_flags:02x}"
        )

    def flush(self) -> None:
        """Send what was not sent yet."""
        self._provider.force_flush()


def tracing(environment: Mapping[str, str]) -> Tracing | None:
    """To the collector that the environment names, None = it names none; raises NoTracing."""
    named = any(environment.get(name) for name in ENDPOINTS)
    off = (
        environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none"
    )
    if not named or off:
        return None
    protocol = next((environment[name] for name in PROTOCOLS if environment.get(name)), PROTOCOL)
    if protocol != PROTOCOL:
        raise NoTracing(f"OpenTelemetry's protocol is {protocol!r}; spans are sent by {PROTOCOL} alone.")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise NoTracing(
            f"{' or '.join(ENDPOINTS)} is set, and OpenTelemetry is not installed ({error}). "
            "Install value-model[otel], or take it out of the environment."
        ) from error
    provider = TracerProvider(
        resource=Resource.create({"service.name": environment.get("OTEL_SERVICE_NAME") or SERVICE})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
