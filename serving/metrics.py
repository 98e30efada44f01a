"""What /metrics counts: requests, seconds per stage, feedback, and the state of the bundle.

With PROMETHEUS_MULTIPROC_DIR set (several gunicorn workers) the counts of all workers are added up.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from evaluation.experiments.exposure import exposed_variants
from marketplace.log import Receipt
from marketplace.schema import SCORER_KEY
from marketplace.slate import Slate
from retrieval.moving_index import IndexState
from serving.rungs import rung_of, untried
from serving.worker_metrics import folder_lock

UNANSWERED = {503: "busy", 499: "caller gone", 408: "sent too slowly", 413: "too large", 500: "failed"}
NO_UNIT = "no unit"  # counted in a variant's stead

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)


class Metrics:
    """One process's counters, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._shared: set[tuple[str, str]] = set()
        mine: dict[str, Any] = {"namespace": "value_model", "registry": self._registry}
        self.answers = Counter("answers", "HTTP answers", ["route", "status"], **mine)
        self.seconds = Histogram("answer_seconds", "whole HTTP answer", ["route"], buckets=SECONDS, **mine)
        self.unanswered = Counter("unanswered", "requests that no route answered, by reason", ["reason"], **mine)
        self.stages = Histogram("stage_seconds", "one stage of a ranking", ["stage"], buckets=SECONDS, **mine)
        self._of_stage = cache(self.stages.labels)
        self.candidates = Counter("candidates_scored", "candidates scored", **mine)
        self.rankings = Counter("rankings", "rankings by how much of the usual path answered", ["rung"], **mine)
        self.untried = Counter("rankings_untried", "rankings that a breaker kept from the full rung", **mine)
        self.scorings = Counter("scorings", "rankings by who scored, where not the bundle alone", ["by"], **mine)
        self.left_out = Counter("candidates_left_out", "candidates without finite numbers", **mine)
        self.feedback = Counter("feedback_events", "feedback by fate", ["fate"], **mine)
        self.quarantined = Counter("feedback_quarantined", "feedback that is not believed", ["reason"], **mine)
        self.catalogue = Counter("catalogue_updates", "updates by subject and fate", ["subject", "fate"], **mine)
        self.sign_ins = Counter("console_sign_ins", "sign-ins to the console by fate", ["fate"], **mine)
        self.experiments = Counter(
            "experiment_requests", "requests by variant; no unit = left out", ["experiment", "variant"], **mine
        )
        recent: dict[str, Any] = {"multiprocess_mode": "mostrecent", **mine}
        self.shares = Gauge(
            "experiment_share", "share of the units with a variant now", ["experiment", "variant"], **recent
        )
        self.faults = Gauge("experiment_faults", "experiment files that are not followed", **recent)
        self.ready = Gauge("ready", "1 = a bundle serves", **recent)
        self.stale = Gauge("reload_failed", "1 = the newest bundle was refused", **recent)
        self.recall = Gauge("index_recall", "latest watched searches over exact search", **recent)
        self.gate = Gauge("index_recall_gate", "recall below which the index is built anew", **recent)
        self.rebuilds = Gauge("index_rebuilds", "indexes built anew since the bundle was loaded", **recent)
        self.rebuild_failed = Gauge("index_rebuild_failed", "1 = the latest rebuild failed", **recent)

    def observe_answer(self, route: str, *, status: int, seconds: float) -> None:
        """One HTTP answer, or one that nobody waited for (499)."""
        self.answers.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def observe_unanswered(self, status: int) -> None:
        """One request that was refused, or given up, before a route answered it."""
        self.unanswered.labels(UNANSWERED.get(status, "malformed")).inc()

    def observe_ranking(self, seconds: Mapping[str, float], *, candidates: int, left_out: int = 0) -> None:
        """One ranking: its seconds per stage, how many candidates were scored, and how many had no finite numbers."""
        self.candidates.inc(candidates)
        self.left_out.inc(left_out)
        for stage, value in seconds.items():
            self._of_stage(stage).observe(value)

    def observe_rung(self, slate: Slate) -> None:
        """Which rung answered a slate, and by which scorer, where that was not the bundle's."""
        self.rankings.labels(rung_of(slate)).inc()
        self.untried.inc(untried(slate))
        if (scorer := slate.context.get(SCORER_KEY)) is not None:
            self.scorings.labels(scorer).inc()

    def observe_variants(self, slate: Slate, *, without_unit: Sequence[str]) -> None:
        """The variants of one slate, and the experiments whose unit its request lacks."""
        for name, variant in exposed_variants(slate.experiment, slate.variant).items():
            self.experiments.labels(name, variant).inc()
        for name in without_unit:
            self.experiments.labels(name, NO_UNIT).inc()

    def observe_experiments(self, shares: Mapping[str, Mapping[str, float]], *, faults: int) -> None:
        """The shares of every variant of every experiment that is followed; one that is gone has 0."""
        self.faults.set(faults)
        now = {(name, variant): share for name, of in shares.items() for variant, share in of.items()}
        for labels in self._shared | set(now):
            self.shares.labels(*labels).set(now.get(labels, 0.0))
        self._shared |= set(now)

    def observe_index(self, index: IndexState) -> None:
        """How well the index finds what moves; no recall (NaN) before a search was watched."""
        self.recall.set(math.nan if index.recall is None else index.recall)
        self.gate.set(index.gate)
        self.rebuilds.set(index.rebuilds)
        self.rebuild_failed.set(bool(index.failure))

    def observe_feedback(self, receipt: Receipt) -> None:
        """What became of a batch."""
        self.feedback.labels("accepted").inc(receipt.accepted)
        self.feedback.labels("duplicate").inc(receipt.duplicates)
        self.feedback.labels("quarantined").inc(sum(receipt.quarantined.values()))
        for reason, events in receipt.quarantined.items():
            self.quarantined.labels(reason).inc(events)

    def render(self) -> bytes:
        """The Prometheus text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)
        with folder_lock(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]), shared=True):
            return generate_latest(everyone)
