"""The features of past requests as of their time: what the online store would have known, computed at once.

Known is what happened strictly before a request's time. Touches are clicks, carts and orders, with or without a
slate; impressions are the slates' shown items. Statistics per impression count only the feedback that answers a slate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.asof import Timeline
from features.catalogue import Catalogue, tokenise
from features.definitions import HISTORY
from features.formulas import FeatureState
from features.history import last_distinct, next_times
from features.snapshot import FeatureSnapshot, context_features, item_facts, last_facts
from features.spec import FeatureFrame, FeatureSpec
from features.touches import HALF_LIFE, TOUCHES, WEIGHTS, Touches, pair
from marketplace import slate_columns
from marketplace.dataset import Dataset
from marketplace.splits import microseconds

Arrays = dict[str, Any]


@dataclass(frozen=True, eq=False)
class _PastRequests:
    """R requests: time, user code; N rows: catalogue row, price shown, request."""

    time: np.ndarray
    user: np.ndarray
    offsets: np.ndarray
    request: np.ndarray
    item: np.ndarray
    price: np.ndarray


def backfill(dataset: Dataset, slates: pa.Table, *, spec: FeatureSpec) -> FeatureFrame:
    """The raw features of `slates` (rows of SLATE) from all that `dataset` recorded before each of them."""
    return known_before(dataset, slates, spec=spec).frame()


def known_before(dataset: Dataset, slates: pa.Table, *, spec: FeatureSpec) -> FeatureSnapshot:
    """The same, before it is laid out in columns."""
    catalogue = Catalogue.of(dataset)
    touches = Touches.of(dataset.feedback, catalogue)
    asked = _PastRequests(
        time=microseconds(slates["time"]),
        user=touches.codes(slates["user_id"]),
        offsets=slate_columns.item_offsets(slates),
        request=slate_columns.request_of_rows(slates),
        item=catalogue.rows(slate_columns.flat(slates, "item_id")),
        price=slate_columns.flat(slates, "price").to_numpy(),
    )
    history, user = _user(asked, touches)
    state = FeatureState(
        offsets=asked.offsets,
        request=asked.request,
        time=asked.time,
        **user,
        **last_facts(history, catalogue),
        **item_facts(asked.item, asked.price, catalogue),
        **_rates(asked, dataset, catalogue, touches),
        **_popularity(asked, touches),
        **_pairs(asked, touches, catalogue),
    )
    return FeatureSnapshot(spec, catalogue, state, _text(dataset, slates, spec), history)


def _user(asked: _PastRequests, touches: Touches) -> tuple[np.ndarray, Arrays]:
    """The users' histories [R, HISTORY], and their counts by kind of touch."""
    line = Timeline(touches.user, touches.time)
    known = line.before(asked.user, asked.time)
    counts = {f"user_{kind}s": line.sums(known, touches.kind == k) for k, kind in enumerate(TOUCHES)}
    identified = touches.only(touches.item >= 0)
    size = int(identified.item.max(initial=0)) + 1
    following = next_times(pair(identified.user, identified.item, size=size), identified.time)
    items = Timeline(identified.user, identified.time)
    history = last_distinct(
        items,
        items.before(asked.user, asked.time),
        asked.time,
        item=identified.item,
        following=following,
        length=HISTORY,
    )
    return history, counts | {"user_last": line.last(known)}


def _rates(asked: _PastRequests, dataset: Dataset, catalogue: Catalogue, touches: Touches) -> Arrays:
    """Impressions, and the clicks and orders that answer slates: of each row's item, and of the market."""
    shown = slate_columns.shown(dataset.slates)
    slate_time = microseconds(dataset.slates["time"])[slate_columns.request_of_rows(dataset.slates)]
    seen = catalogue.rows(slate_columns.flat(dataset.slates, "item_id"))[shown], slate_time[shown]
    answers = touches.only(touches.answers)
    row_time = asked.time[asked.request]
    result: Arrays = {}
    events = {
        "impressions": seen,
        "clicks": (answers.item[answers.kind == 0], answers.time[answers.kind == 0]),
        "orders": (answers.item[answers.kind == 2], answers.time[answers.kind == 2]),
    }
    for name, (item, time) in events.items():
        known = Timeline(item, time).before(asked.item, row_time)
        result[name] = np.where(asked.item >= 0, known.count, 0).astype(np.float64)
        result[f"all_{name}"] = np.searchsorted(np.sort(time), asked.time).astype(np.float64)
    return result


def _popularity(asked: _PastRequests, touches: Touches) -> Arrays:
    line = Timeline(touches.item, touches.time)
    row_time = asked.time[asked.request]
    known = line.before(asked.item, row_time)
    popularity = line.decayed(known, WEIGHTS[touches.kind], row_time, half_life=HALF_LIFE)
    return {"popularity": np.where(asked.item >= 0, popularity, 0.0)}


def _pairs(asked: _PastRequests, touches: Touches, catalogue: Catalogue) -> Arrays:
    """Touches of each row's item, category and merchant by the request's user."""
    identified = touches.only(touches.item >= 0)
    user, row_time = asked.user[asked.request], asked.time[asked.request]
    line = Timeline(pair(identified.user, identified.item, size=len(catalogue)), identified.time)
    known = line.before(pair(user, asked.item, size=len(catalogue)), row_time)
    result: Arrays = {f"pair_{kind}s": line.sums(known, identified.kind == k) for k, kind in enumerate(TOUCHES)}
    result["pair_last"] = line.last(known)
    for name, code in (("category", catalogue.category), ("merchant", catalogue.merchant)):
        size = int(code.max(initial=0)) + 1
        group = Timeline(pair(identified.user, code[identified.item], size=size), identified.time)
        of_row = np.where(asked.item >= 0, code[asked.item], -1)
        result[f"{name}_touches"] = group.before(pair(user, of_row, size=size), row_time).count.astype(np.float64)
    return result


def _text(dataset: Dataset, slates: pa.Table, spec: FeatureSpec) -> dict[str, pa.Array]:
    """The requests' own categories by feature name."""
    row = pc.index_in(slates["user_id"].cast(pa.string()), dataset.users["user_id"].combine_chunks())
    direct = {
        "user_id": slates["user_id"],
        "surface": slates["surface"],
        "page_merchant": slates["page_merchant_id"],
        "page_item": slates["page_item_id"],
        "user_country": dataset.users["country"].take(row),
        "user_segment": dataset.users["segment"].take(row),
    }
    text = {name: column.cast(pa.string()).combine_chunks() for name, column in direct.items()}
    text["query_tokens"] = tokenise(slates["query"].combine_chunks())
    return text | {name: slate_columns.context(slates, name) for name in context_features(spec)}
