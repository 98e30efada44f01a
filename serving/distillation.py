"""Distillation of the first phase: what the ranker says of the candidates of recorded requests, as they come now."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from serving.candidate_budget import CandidateBudget
from serving.candidate_features import candidate_features
from serving.deadline import NO_DEADLINE
from serving.engine import RankingEngine
from serving.first_phase import FirstPhase
from serving.request import Request
from serving.stages import Stages

REQUESTS = 60  # whose candidates are scored: some 30,000 rows
ASKED = ("surface", "user_id", "session_id", "query", "page_merchant_id", "page_item_id")


def distilled(engine: RankingEngine, slates: pa.Table) -> FirstPhase:
    """Fitted to the engine's ranker over requests of SLATE rows, the last of them; of shoppers at home without any."""
    lists, predictions = [], []
    for request in _requests(engine, slates):
        known = candidate_features(
            request,
            engine.parts,
            engine.store,
            budget=CandidateBudget(),
            deadline=NO_DEADLINE,
            stages=Stages(time.perf_counter),
        )
        if len(known.rows):
            lists.append(known.inputs)
            predictions.append(engine.parts.scorer.score(known.inputs, items=known.rows))
    return FirstPhase.fitted(lists, predictions, spec=engine.spec)


def _requests(engine: RankingEngine, slates: pa.Table) -> Iterator[Request]:
    """At the time that the bundle knows everything until."""
    places = np.unique(np.linspace(max(len(slates) - 50 * REQUESTS, 0), len(slates) - 1, REQUESTS).astype(np.int64))
    some = slates.select([*ASKED, "context"]).take(places if len(slates) else np.empty(0, np.int64))
    rows = some.to_pylist() or [{"surface": "home", "user_id": str(n), "context": []} for n in range(REQUESTS)]
    table = engine.parts.item_table
    for number, row in enumerate(rows):
        item, merchant = row.get("page_item_id"), row.get("page_merchant_id")
        if (item is None or item in table.row) and (merchant is None or merchant in table.merchant_code):
            context = {name: entry for name, entry in row["context"] if entry is not None}
            fields = {name: row.get(name) for name in ASKED}
            yield Request(request_id=f"distilled {number}", time=engine.parts.known_until, context=context, **fields)
