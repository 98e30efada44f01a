"""Between the wire and the house: a slate as the JSON that callers get, feedback as the table that the log takes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from evaluation.experiments.experiment_folder import FolderContent
from evaluation.experiments.exposure import exposed_variants
from marketplace.schema import FEEDBACK, conform
from marketplace.slate import Slate
from serving.feedback_checks import OrderDetails
from serving.payloads import FeedbackRequest, ServedExperiment
from serving.rungs import rung_of
from serving.service import Ranking

FEEDBACK_COLUMNS = (
    "feedback_id",
    "request_id",
    "event",
    "time",
    "user_id",
    "item_id",
    "amount",
    "currency",
    "session_id",
)


def slate_answer(
    ranking: Ranking, *, contributions: Mapping[str, np.ndarray] | None, with_source: bool = True
) -> dict[str, Any]:
    """The fields of `payloads.SlateAnswer`, shown items only, in their order; ready for orjson.

    An item's source tells what its shopper did before: `with_source` False = it is left out.
    """
    slate = ranking.slate
    shown = np.flatnonzero(slate.position > 0)
    shown = shown[np.argsort(slate.position[shown], kind="stable")]
    return {
        "request_id": slate.request_id,
        "time": slate.time,
        "surface": slate.surface,
        "currency": slate.currency,
        "considered": slate.considered,
        "rung": rung_of(slate),
        "match": slate.match,
        "unknown_candidates": list(ranking.unknown_candidates),
        "unavailable_candidates": dict(ranking.unavailable_candidates),
        "versions": slate.versions,
        "experiments": exposed_variants(slate.experiment, slate.variant),
        "cursor": slate.request_id if ranking.further else None,
        "items": _items(slate, shown, contributions, with_source=with_source),
    }


def _items(
    slate: Slate, shown: np.ndarray, contributions: Mapping[str, np.ndarray] | None, *, with_source: bool
) -> list[dict[str, Any]]:
    names = ["item_id", "merchant_id", "position", "price", "value", "merchant_value", "retrieval_score"]
    names += ["source"] if with_source else []
    columns = {name: getattr(slate, name)[shown].tolist() for name in names}
    columns["propensity"] = [None if p != p else p for p in slate.propensity[shown].tolist()]
    columns["predictions"] = _rows(slate.predictions, shown)
    if contributions is not None:
        columns["contributions"] = _rows(contributions, shown)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _rows(columns: Mapping[str, np.ndarray], shown: np.ndarray) -> list[dict[str, float]]:
    lists = [values[shown].tolist() for values in columns.values()]
    if not lists:
        return [{} for _ in shown]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def served_experiments(content: FolderContent, *, now: datetime) -> dict[str, ServedExperiment]:
    """The experiments that an engine follows, by name."""
    return {
        placed.experiment.name: ServedExperiment(
            version=placed.experiment.version,
            phase=placed.phase(now),
            start=placed.experiment.start,
            end=placed.experiment.end,
            step=placed.step + 1,
            shares=placed.shares(now),
            stopped=placed.state.reasons,
        )
        for placed in content.experiments
    }


def order_details(batch: FeedbackRequest) -> OrderDetails:
    """What came with the events beside FEEDBACK's columns."""
    return OrderDetails([event.quantity for event in batch.events], [event.order_id for event in batch.events])


def feedback_table(batch: FeedbackRequest) -> pa.Table:
    """FEEDBACK rows of a checked batch."""
    columns = {name: [getattr(event, name) for event in batch.events] for name in FEEDBACK_COLUMNS}
    kinds = {field.name: field.type for field in FEEDBACK}
    plain = {name: kind.value_type if pa.types.is_dictionary(kind) else kind for name, kind in kinds.items()}
    table = pa.table({name: pa.array(values, plain[name]) for name, values in columns.items()})
    return conform(table, FEEDBACK, where="feedback")
