"""The whole loop once: data to a served, explained, logged ranking, feedback, and the training rows that it leaves."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from jobs.config import RunConfig
from jobs.data import kept
from jobs.join_feedback import logged_names, training_rows
from jobs.recommend import names, question
from jobs.run import run_all
from jobs.serve import running
from jobs.tables import print_answer, print_counts, print_rows
from marketplace.attribution import attribute
from marketplace.settings import changes
from marketplace.sqlite_log import SqliteLog
from retrieval.config import RetrievalConfig
from serving.bundle import load_bundle
from serving.client import Client, ClientSettings
from serving.payloads import (
    Event,
    FeedbackAnswer,
    FeedbackEvent,
    FeedbackRequest,
    RecommendRequest,
    ShownItem,
    SlateAnswer,
)
from value_model.rankers.config import NetworkConfig, TrainingConfig

SHOWN = 8  # items
# Two minutes less than the defaults, which find nothing more on this market: a share of its faint pairs and narrower
# experts are enough.
SIMULATED = RunConfig(
    retrieval=RetrievalConfig(pairs=60_000),
    ranker=NetworkConfig(expert_units=(64, 32)),
    training=TrainingConfig(patience=2),
)
LOG_COLUMNS = ("position", "item_id", "source", "value", "propensity", "seen", "click", "order", "order_value")


def demo(data: str, folder: Path) -> None:
    """Run every stage, serve, ask, answer, show; `folder` keeps the run and its log."""
    start = time.perf_counter()
    config = SIMULATED if data == "simulated" else RunConfig(data=data)
    if settings := [f"--set {name}={after}" for name, _, after in changes(RunConfig(data=data), config)]:
        print(f"   as `value-model run {' '.join(settings)}`")
    run_all(config, folder)
    print("== service", flush=True)
    answer, _ = demo_requests(folder, log=folder / "log.sqlite")
    show_log(folder / "log.sqlite", answer.request_id)
    print(f"   done in {time.perf_counter() - start:.0f} s; the service is stopped. Go on by hand:")
    print_next(folder)


def demo_requests(folder: Path, *, log: Path) -> tuple[SlateAnswer, FeedbackAnswer]:
    """Start the service, ask it for a home feed, print the slate, send feedback; the two answers."""
    bundle = load_bundle(folder / "bundle")
    with running(folder, log=log) as address:
        print(f"   listening on {address}, without TensorFlow in the process")
        request = RecommendRequest(**question(bundle, user=busiest(folder), surface="home", k=SHOWN))
        with Client(address, ClientSettings(timeout=30.0)) as service:
            answer = service.recommend(request)
            print_answer(answer.model_dump(), names=names(bundle.catalogue))
            receipt = service.feedback(feedback(answer, request))
        print(f"   feedback: {receipt.accepted} events accepted, {receipt.duplicates} duplicates")
    return answer, receipt


def busiest(folder: Path) -> str | None:
    """The shopper with the most events among the last thousand: one with a history to see at work; None without any."""
    users = kept(folder).feedback["user_id"].cast(pa.string())[-1000:]
    counted = users.value_counts().to_pylist()
    return max(counted, key=lambda row: row["counts"])["values"] if counted else None


def feedback(answer: SlateAnswer, request: RecommendRequest) -> FeedbackRequest:
    """The shopper looks at everything, clicks the second item and orders it."""
    seen = [_event(answer, request, "impression", item) for item in answer.items]
    chosen = answer.items[min(1, len(answer.items) - 1)]
    return FeedbackRequest(events=[*seen, *(_event(answer, request, event, chosen) for event in ("click", "order"))])


def _event(answer: SlateAnswer, request: RecommendRequest, event: Event, item: ShownItem) -> FeedbackEvent:
    seconds = {"impression": 2, "click": 20, "order": 300}[event]
    return FeedbackEvent(
        feedback_id=f"{answer.request_id}-{event}-{item.item_id}",
        request_id=answer.request_id,
        event=event,
        time=answer.time + timedelta(seconds=seconds),
        user_id=request.user_id,
        item_id=item.item_id,
        amount=item.price if event == "order" else None,
        currency=answer.currency if event == "order" else None,
    )


def show_log(log: Path, request_id: str) -> None:
    """The training rows that the log now holds of one request."""
    kept = SqliteLog(log)
    joined = attribute(kept.slates(), kept.feedback())
    kept.close()
    rows = training_rows(joined.slates, joined.labels, names=logged_names(joined.slates))
    logged = rows.filter(pa.compute.equal(rows["request_id"], request_id))
    shown = logged.filter(pa.compute.greater(logged["position"], 0)).sort_by("position")
    print_counts(joined.counts)
    print_rows(
        shown.select(LOG_COLUMNS), title=f"{log}: the slate joined with its feedback ({len(logged)} rows logged)"
    )


def print_next(folder: Path) -> None:
    for line in (
        f"value-model evaluate {folder}        # {folder}/evaluation/report.html",
        f"value-model tune {folder}            # {folder}/tuning/report.html",
        f"value-model publish {folder}         # what is served; with a policy file: put it in force",
        f"voila notebooks/2_tune_the_value.ipynb             # sliders; VALUE_MODEL_RUN={folder}",
        f"value-model recommend {folder} --surface product_page",
        f"value-model serve {folder} --port 8080",
        f"value-model join-feedback {folder}/log.sqlite --out rows.parquet",
    ):
        print(f"     .venv/bin/{line}")
