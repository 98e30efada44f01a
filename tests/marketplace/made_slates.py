"""Slates and feedback for tests: a plain one, and everything that hypothesis can think of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from marketplace.schema import EVENTS, FEEDBACK, SURFACES
from marketplace.slate import Slate

few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
VERSIONS = ("retriever", "index", "ranker", "calibrator", "policy", "feature_spec")

words = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(["هاتف", "عباءة سوداء", "NaN", "", "null"])
names = st.text("abcdأبج ", min_size=1, max_size=4)
doubles = st.floats()
singles = st.floats(width=32)
times = st.datetimes(datetime(1950, 1, 1), datetime(2150, 1, 1), timezones=st.just(UTC))


def make_slate(request_id: str, *, items: tuple[str, ...] = ("a", "b", "c"), minutes: float = 0, **changes) -> Slate:
    """A slate that shows `items` from the top, `minutes` after START; `changes` replace fields."""
    n = len(items)
    cells = {
        "request_id": request_id,
        "time": START + timedelta(minutes=minutes),
        "surface": "home",
        "user_id": "u",
        "currency": "SAR",
        **{f"{name}_version": "v1" for name in VERSIONS},
        "item_id": np.array(items, object),
        "merchant_id": np.array(["m"] * n, object),
        "price": np.arange(1.0, n + 1),
        "source": np.array(["ann"] * n, object),
        "retrieval_score": np.ones(n, np.float32),
        "merchant_value": np.zeros(n),
        "value": np.ones(n),
        "position": np.arange(1, n + 1, dtype=np.int32),
        "propensity": np.full(n, np.nan),
        "predictions": {"ctr": np.full(n, 0.1)},
        "context": {"country": "SA"},
        "weights": {"gmv": 1.0},
    }
    return Slate(**cells | changes)


def make_feedback(*events: tuple, currency: str | None = "SAR") -> pa.Table:
    """FEEDBACK of (feedback_id, request_id, event, item_id, minutes after START, amount)."""
    columns = list(zip(*events, strict=True)) or [[]] * 6
    ids, requests, kinds, items, minutes, amounts = columns
    cells = {
        "feedback_id": ids,
        "request_id": requests,
        "event": kinds,
        "time": [START + timedelta(minutes=m) for m in minutes],
        "user_id": ["u"] * len(ids),
        "item_id": items,
        "amount": amounts,
        "currency": [currency] * len(ids),
        "session_id": [None] * len(ids),
        "detail": [None] * len(ids),
    }
    return pa.table(cells, schema=FEEDBACK)


def _objects(values: list) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _texts(n: int, kind=words):
    return st.lists(kind, min_size=n, max_size=n).map(_objects)


def _numbers(n: int, kind, dtype):
    return st.lists(kind, min_size=n, max_size=n).map(lambda values: np.array(values, dtype))


@st.composite
def slates(draw, request_ids=words) -> Slate:
    """Any slate that the schema allows."""
    n = draw(st.integers(0, 4))
    f64, f32 = _numbers(n, doubles, np.float64), _numbers(n, singles, np.float32)
    served = _numbers(1, singles, np.float32) | f32
    listed = st.integers(0, 5).flatmap(lambda k: _texts(k, st.none() | words))
    cells = dict.fromkeys(("price", "merchant_value", "value", "propensity"), f64)
    cells |= {name: _texts(n) for name in ("item_id", "merchant_id", "source")}
    cells |= {f"{name}_version": words for name in VERSIONS}
    optional = ("session_id", "query", "page_merchant_id", "page_item_id", "experiment", "variant")
    cells |= {name: st.none() | words for name in optional}
    cells |= {
        "request_id": request_ids,
        "time": times,
        "surface": st.sampled_from(SURFACES),
        "user_id": words,
        "currency": st.sampled_from(["SAR", "AED"]),
        "retrieval_score": f32,
        "position": _numbers(n, st.integers(0, 9), np.int32),
        "context": st.dictionaries(names, st.none() | words, max_size=2),
        "weights": st.dictionaries(names, doubles, max_size=2),
        "numeric": st.dictionaries(names, served, max_size=3),
        "categorical": st.dictionaries(names, listed, max_size=3),
        "predictions": st.dictionaries(names, f64, max_size=3),
    }
    return Slate(**{name: draw(strategy) for name, strategy in cells.items()})


amounts = st.none() | doubles
feedback_rows = st.fixed_dictionaries(
    {
        "feedback_id": words,
        "request_id": st.none() | words,
        "event": st.sampled_from(EVENTS),
        "time": times,
        "user_id": words,
        "item_id": words,
        "amount": amounts,
        "currency": st.none() | words,
        "session_id": st.none() | words,
        "detail": st.none() | words,
    }
)
feedback_tables = st.lists(feedback_rows, max_size=5).map(lambda rows: pa.Table.from_pylist(rows, schema=FEEDBACK))


def same_rows(a: pa.Table, b: pa.Table) -> bool:
    """Equal rows in equal order, NaN equal to NaN, however they are chunked and dictionary-encoded."""
    return a.schema.equals(b.schema, check_metadata=True) and repr(a.to_pylist()) == repr(b.to_pylist())
