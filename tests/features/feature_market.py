"""A tiny random market with many ties of time, unknown items and missing values, for the tests of this folder."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from marketplace.dataset import Dataset
from marketplace.schema import FEEDBACK, ITEMS, MERCHANTS, SLATE, USERS, conform, empty

DAY = 86_400_000_000
START = 20_000 * DAY
ITEMS_KNOWN, ITEMS_ALL, PEOPLE = 12, 14, 5


def random_market(rng: np.random.Generator, *, requests: int = 12, events: int = 60, days: int = 6) -> Dataset:
    """Times are whole days, so that requests and events often tie."""
    slates, request_ids = _slates(rng, requests, days)
    return Dataset("tiny", "AED", _items(), _merchants(), _users(), slates, _feedback(rng, events, days, request_ids))


def _times(days: np.ndarray) -> pa.Array:
    return pa.array(np.sort(days) * DAY + START).cast(pa.timestamp("us", tz="UTC"))


def _names(prefix: str, numbers: np.ndarray) -> list[str]:
    return [f"{prefix}{number}" for number in numbers]


def _visits(users: list[str]) -> pa.Array:
    """One visit a user; that of the first is not known."""
    return pa.array([None if user == "u0" else f"visit of {user}" for user in users], pa.string())


def _items() -> pa.Table:
    n = np.arange(ITEMS_KNOWN)
    launch = pa.array(np.where(n % 3, START - n * DAY, 0), mask=n % 3 == 0).cast(pa.timestamp("us", tz="UTC"))
    columns = {
        "item_id": _names("i", n),
        "merchant_id": _names("m", n % 4),
        "category": _names("c", n % 3),
        "name": [None if i == 0 else f"Blue Dress {i} كِتاب" for i in n],
        "price": 10.0 + n,
        "currency": ["AED"] * len(n),
        "in_stock": [True] * len(n),
        "available_from": launch,
    }
    return conform(pa.table(columns), ITEMS, where="test")


def _merchants() -> pa.Table:
    known = 3  # m3 is not in the table
    rates = {name: np.linspace(0.1, 0.3, known) for name in ("commission_rate", "quality", "return_rate")}
    columns = {"merchant_id": _names("m", np.arange(known)), **rates, "refusal_rate": np.zeros(known)}
    return conform(pa.table(columns), MERCHANTS, where="test")


def _users() -> pa.Table:
    columns = {"user_id": ["u0", "u1"], "country": ["AE", None], "segment": ["new", "old"]}
    return conform(pa.table(columns), USERS, where="test")


def _slates(rng: np.random.Generator, requests: int, days: int) -> tuple[pa.Table, list[str]]:
    lengths = rng.integers(1, 6, requests)
    offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
    n = int(lengths.sum())
    items = np.concatenate([rng.choice(ITEMS_ALL, size, replace=False) for size in lengths])
    names = _names("r", np.arange(requests))

    def listed(values: object, kind: pa.DataType) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, pa.array(values, kind))

    columns = {
        "request_id": names,
        "time": _times(rng.integers(0, days, requests)),
        "surface": rng.choice(["home", "search"], requests),
        "user_id": _names("u", rng.integers(0, PEOPLE, requests)),
        "page_item_id": [f"i{r}" if r % 4 == 1 else None for r in range(requests)],
        "query": [None if r % 3 else "blue DRESS" for r in range(requests)],
        "context": pa.array(
            [[("city", "Dubai"), ("device", "app")] if r % 2 else [("country", "AE")] for r in range(requests)],
            pa.map_(pa.string(), pa.string()),
        ),
        "currency": ["AED"] * requests,
        "item_id": listed(_names("i", items), pa.string()),
        "merchant_id": listed(_names("m", items % 4), pa.string()),
        "price": listed(10.0 + items, pa.float64()),
        "position": listed(rng.integers(0, 3, n).astype(np.int32), pa.int32()),
        "source": listed(["s"] * n, pa.string()),
    }
    columns["session_id"] = _visits(columns["user_id"])
    columns |= {name: ["v"] * requests for name in SLATE.names if name.endswith("_version")}
    columns["weights"] = pa.array([[]] * requests, SLATE.field("weights").type)
    for name in ("numeric", "categorical", "predictions"):
        columns[name] = pa.array([[]] * requests, SLATE.field(name).type)
    for name in ("retrieval_score", "merchant_value", "value", "propensity"):
        columns[name] = listed(np.zeros(n), SLATE.field(name).type.value_type)
    return conform(pa.table(columns), SLATE, where="test"), names


def _feedback(rng: np.random.Generator, events: int, days: int, request_ids: list[str]) -> pa.Table:
    if events == 0:
        return empty(FEEDBACK)
    answers = rng.integers(0, 2, events) > 0
    columns = {
        "feedback_id": _names("f", np.arange(events)),
        "request_id": pa.array(rng.choice(request_ids, events), mask=~answers),
        "event": rng.choice(["impression", "click", "cart", "order", "return"], events),
        "time": _times(rng.integers(0, days, events)),
        "user_id": _names("u", rng.integers(0, PEOPLE, events)),
        "item_id": _names("i", rng.integers(0, ITEMS_ALL, events)),
    }
    columns["session_id"] = _visits(columns["user_id"])
    return conform(pa.table(columns), FEEDBACK, where="test")
