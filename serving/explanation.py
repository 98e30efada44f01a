"""Explanation: a slate as it was logged, every item with its rank, its terms and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from evaluation.experiments.exposure import exposed_variants
from marketplace.slate import Slate


class ExplainedItem(BaseModel):
    """A candidate that was chosen from, shown or not."""

    item_id: str
    merchant_id: str
    rank: int = Field(description="by value, from 1")
    position: int = Field(description="1-based, as shown; 0 = not shown")
    price: float = Field(description="in the slate's currency")
    value: float = Field(description="the value formula's result, in its unit")
    merchant_value: float = Field(description="currency per impression")
    predictions: dict[str, float] = Field(description="per head")
    contributions: dict[str, float] | None = Field(description="value per term; they sum to value")
    source: str = Field(description="the candidate source that proposed it")
    retrieval_score: float
    propensity: float | None = Field(description="P(this item here | the items above it)")


class SlateExplanation(BaseModel):
    """A slate on record, best value first."""

    request_id: str
    time: datetime
    surface: str
    user_id: str
    session_id: str | None
    query: str | None
    page_merchant_id: str | None
    page_item_id: str | None
    currency: str
    context: dict[str, str | None] = Field(description="the caller's, and what the service noted: seed, k, segment")
    considered: int = Field(description="candidates that were scored; the best of them are on record")
    weights: dict[str, float] = Field(description="of the formula, as they applied")
    versions: dict[str, str]
    experiments: dict[str, str]
    unexplained: str | None = Field(description="why contributions are null")
    items: list[ExplainedItem]


COLUMNS = ("item_id", "merchant_id", "position", "price", "value", "merchant_value", "source", "retrieval_score")
SCALARS = ("request_id", "time", "surface", "user_id", "session_id", "query", "page_merchant_id", "page_item_id")


def explanation(slate: Slate, terms: Mapping[str, np.ndarray] | None, *, unexplained: str | None) -> dict[str, Any]:
    """The fields of a SlateExplanation, ready for orjson; `terms`: value per term, float64 [n] each."""
    order = np.argsort(-slate.value, kind="stable")
    columns = {name: getattr(slate, name)[order].tolist() for name in COLUMNS}
    columns["rank"] = list(range(1, len(order) + 1))
    columns["propensity"] = [None if p != p else p for p in slate.propensity[order].tolist()]
    for name, entries in (("predictions", slate.predictions), ("contributions", terms)):
        columns[name] = [None] * len(order) if entries is None else _rows(entries, order)
    return {
        **{name: getattr(slate, name) for name in SCALARS},
        "currency": slate.currency,
        "context": dict(slate.context),
        "considered": slate.considered,
        "weights": dict(slate.weights),
        "versions": slate.versions,
        "experiments": exposed_variants(slate.experiment, slate.variant),
        "unexplained": unexplained,
        "items": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
    }


def _rows(entries: Mapping[str, np.ndarray], order: np.ndarray) -> list[dict[str, float]]:
    lists = {name: values[order].tolist() for name, values in entries.items()}
    return [{name: values[row] for name, values in lists.items()} for row in range(len(order))]
