"""trivago hotel search (RecSys Challenge 2019): sessions of actions, in which a clickout carries its list.

Conventions: actions are sorted by user, session and step, repeats dropped. Times are the source's whole seconds plus
the step as microseconds, so that a strict cut by time is a strict cut by step within a session. An `order` is a
clickout, amount = its price; a `click` is an interaction with an item (image, info, rating, deals, search for it), or
a repeated clickout of an item in one slate. An order implies a click. Prices are in EUR. The data has no merchants:
the item's city stands in as the merchant group, and is called so.

Two honest questions, never to be mixed (`protocol`):
- "as_served": a view begins at a session's start, at a filter selection, sort change, destination or poi search, or
  where the next clickout's list differs from the last; its slate has the time of its first action.
- "next_clickout": each clickout is a slate of its own at its own time; all that happened before it is history.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from marketplace.dataset import Dataset
from marketplace.datasets.columns import merchants, table, with_rows
from marketplace.schema import FEEDBACK, ITEMS, SLATE, USERS

Protocol = Literal["as_served", "next_clickout"]

CLICKOUT = "clickout item"
INTERACTIONS = (
    "interaction item image",
    "interaction item info",
    "interaction item rating",
    "interaction item deals",
    "search for item",
)
OPENERS = ("filter selection", "change of sort order", "search for destination", "search for poi")
SORTING = ("sort by", "focus on", "best value")  # filters that order lists begin so
CURRENCY = "EUR"
COUNTRY = {"UK": "GB"}  # platforms are named by country, almost as in ISO 3166
ACTION = ("user_id", "session_id", "timestamp", "step", "action_type", "reference")
COLUMNS = (*ACTION, "platform", "city", "device", "current_filters", "impressions", "prices")


@dataclass(frozen=True)
class _ClickoutLists:
    """The impressions of the slates, flattened: slate number, item, price; and each slate's length."""

    slate: np.ndarray
    item: np.ndarray
    price: np.ndarray
    length: np.ndarray


def read_trivago(path: Path, *, protocol: Protocol = "as_served") -> Dataset:
    """The log of `path` (Parquet) as slates, feedback and items.

    Raises FileNotFoundError, or ValueError where columns are missing or the protocol is unknown.
    """
    actions = _read_actions(Path(path))
    served = _as_served(actions) if protocol == "as_served" else _next_clickout(actions, protocol)
    lists = _explode(served)
    slates = _slates(served, lists)
    items = _items(actions, served, lists)
    return Dataset(
        name=f"trivago, {protocol}",
        currency=CURRENCY,
        items=items,
        merchants=_merchants(items),
        users=_users(actions),
        slates=slates,
        feedback=_feedback(actions, served, lists),
        notes=(
            "Merchants: none in the data; the city stands in as the merchant group, with commission and rates of 0.",
            "Views that ended without a clickout are not in the data: every rate is conditional on one.",
            "Item prices are medians over the whole file, for the catalogue; features use the prices shown.",
            "Nothing was randomised: propensities are unknown (NaN).",
        ),
        segment="city",
        context_features=("city", "device", "platform", "sort", "sort_filter", "opened_by"),
        has_text=False,
        whole_lists=True,
    )


def _read_actions(path: Path) -> pd.DataFrame:
    """The actions in order, with `visit` (number of the session), `time` (microseconds) and `opens`."""
    missing = set(COLUMNS) - set(pq.read_schema(path).names)
    if missing:
        raise ValueError(f"{path}: columns {sorted(missing)} are missing; a trivago log has {COLUMNS}.")
    actions = with_rows(pd.read_parquet(path, columns=list(COLUMNS)), path)
    key = ["user_id", "session_id", "step"]
    actions = actions.sort_values(key, kind="stable").drop_duplicates(key).reset_index(drop=True)
    visit = actions.groupby(["user_id", "session_id"], sort=False)
    actions["visit"] = visit.ngroup()
    actions["time"] = visit["timestamp"].cummax() * 1_000_000 + actions["step"]
    actions["opens"] = actions["action_type"].isin(OPENERS)
    searched = actions["action_type"].isin(("search for destination", "search for poi"))
    actions["query"] = _latest(actions, actions["reference"].where(searched))
    actions["sort"] = _latest(actions, actions["reference"].where(actions["action_type"] == "change of sort order"))
    actions["key"] = actions["user_id"] + "/" + actions["session_id"] + "/" + actions["step"].astype(str)
    return actions


def _latest(actions: pd.DataFrame, values: pd.Series) -> pd.Series:
    """The latest of `values` in the session up to and including each action, empty before the first."""
    return values.groupby(actions["visit"]).ffill().fillna("")


def _as_served(actions: pd.DataFrame) -> pd.DataFrame:
    """One row a view; marks every action with its view in `actions["slate"]` (-1 = in none)."""
    shown = actions["impressions"].groupby(actions["visit"]).bfill().fillna("")
    moved = (actions["visit"] != actions["visit"].shift()) | (shown != shown.shift())
    segment = (moved | actions["opens"]).cumsum()
    clickouts = actions[actions["action_type"] == CLICKOUT]
    first_clickout = clickouts.groupby(segment[clickouts.index]).head(1)
    opening = actions.groupby(segment).head(1).set_index(segment.drop_duplicates())
    return _number(actions, first_clickout, opening.loc[segment[first_clickout.index]], segment)


def _next_clickout(actions: pd.DataFrame, protocol: str) -> pd.DataFrame:
    if protocol != "next_clickout":
        raise ValueError(f"protocol={protocol!r}: give 'as_served' or 'next_clickout'.")
    clickouts = actions[actions["action_type"] == CLICKOUT]
    return _number(actions, clickouts, clickouts, pd.Series(np.arange(len(actions)), actions.index))


def _number(actions: pd.DataFrame, clickouts: pd.DataFrame, opening: pd.DataFrame, segment: pd.Series) -> pd.DataFrame:
    """Slates sorted by time: the list and context of a clickout, the time and step of the slate's first action."""
    served = clickouts[["user_id", "platform", "city", "device", "current_filters", "impressions", "prices"]].copy()
    for name in ("time", "step", "key", "query", "sort"):
        served[name] = opening[name].to_numpy()
    # An action other than an opener happens inside the view: naming it would tell the label.
    served["opened_by"] = opening["action_type"].where(opening["opens"], "").to_numpy()
    served["visit_key"] = (clickouts["user_id"] + "/" + clickouts["session_id"]).to_numpy()
    served["segment"] = segment[clickouts.index].to_numpy()
    served = served.sort_values(["time", "key"], kind="stable").reset_index(drop=True)
    actions["slate"] = segment.map(pd.Series(served.index, served["segment"])).fillna(-1).astype(np.int64)
    return served


def _explode(served: pd.DataFrame) -> _ClickoutLists:
    items = served["impressions"].str.split("|")
    length = items.str.len().to_numpy(np.int64)
    price = np.array("|".join(served["prices"]).split("|"), np.float64)
    return _ClickoutLists(np.repeat(np.arange(len(served)), length), np.concatenate(items.to_numpy()), price, length)


def _slates(served: pd.DataFrame, lists: _ClickoutLists) -> pa.Table:
    rows = len(lists.item)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lists.length)]), pa.int32())

    def listed(values: pa.Array) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, values)

    starts = np.repeat(offsets.to_numpy()[:-1], lists.length)
    city = served["city"].to_numpy()[lists.slate]
    return table(
        SLATE,
        {
            "request_id": served["key"],
            "time": pa.array(served["time"].to_numpy()).cast(SLATE.field("time").type),
            "surface": "search",
            "user_id": served["user_id"],
            "session_id": served["visit_key"],
            "query": pa.array(served["query"].where(served["query"] != "", None), pa.string(), from_pandas=True),
            "context": _context(served),
            "currency": CURRENCY,
            "item_id": listed(_ids(lists.item)),
            "merchant_id": listed(_ids(city)),
            "price": listed(pa.array(lists.price)),
            "source": listed(_ids(np.full(rows, "trivago"))),
            "retrieval_score": listed(pa.array(np.full(rows, np.nan, np.float32))),
            "merchant_value": listed(pa.array(np.zeros(rows))),
            "value": listed(pa.array(np.full(rows, np.nan))),
            "position": listed(pa.array((np.arange(rows) - starts + 1).astype(np.int32))),
            "propensity": listed(pa.array(np.full(rows, np.nan))),
        },
        rows=len(served),
        where="trivago slate",
    )


def _context(served: pd.DataFrame) -> pa.Array:
    """map<string, string>: what was known of the request; raw strings of the source."""
    country = served["platform"].map(lambda name: COUNTRY.get(name, name))
    columns = {
        "city": served["city"],
        "country": country,
        "platform": served["platform"],
        "device": served["device"],
        "step": served["step"].astype(str),
        "filters": served["current_filters"].fillna(""),
        "sort_filter": served["current_filters"].fillna("").map(_sorting),
        "sort": served["sort"],
        "opened_by": served["opened_by"],
    }
    values = np.column_stack([column.to_numpy(object) for column in columns.values()]).ravel()
    offsets = np.arange(len(served) + 1, dtype=np.int32) * len(columns)
    keys = np.tile(np.array(list(columns), object), len(served))
    return pa.MapArray.from_arrays(offsets, pa.array(keys, pa.string()), pa.array(values, pa.string()))


def _sorting(filters: str) -> str:
    """Those of the filters that order the list, by name."""
    return "|".join(sorted(name for name in filters.split("|") if name.lower().startswith(SORTING)))


def _feedback(actions: pd.DataFrame, served: pd.DataFrame, lists: _ClickoutLists) -> pa.Table:
    """Each interaction and clickout once; with a request where its item is in the list of its slate."""
    touched = actions[actions["action_type"].isin((*INTERACTIONS, CLICKOUT)) & actions["reference"].str.isdigit()]
    touched = touched.sort_values(["time", "key"], kind="stable")
    clickout = (touched["action_type"] == CLICKOUT).to_numpy()
    shown = pd.MultiIndex.from_arrays([lists.slate, lists.item])
    row = shown.get_indexer(pd.MultiIndex.from_arrays([touched["slate"], touched["reference"]]))
    answers = row >= 0
    request = np.where(answers, served["key"].to_numpy()[touched["slate"]], None)
    # A slate sells an item at most once: a repeated clickout is a further click.
    order = clickout & ~(
        answers & touched.assign(order=clickout).duplicated(["slate", "reference", "order"]).to_numpy()
    )
    amount = np.where(order & answers, lists.price[row], np.nan)
    return table(
        FEEDBACK,
        {
            "feedback_id": touched["key"],
            "request_id": pa.array(request, pa.string()),
            "event": np.where(order, "order", "click"),
            "time": pa.array(touched["time"].to_numpy()).cast(FEEDBACK.field("time").type),
            "user_id": touched["user_id"],
            "item_id": touched["reference"],
            "amount": pa.array(amount, from_pandas=True),
            "currency": CURRENCY,
            "session_id": touched["user_id"] + "/" + touched["session_id"],
            "detail": touched["action_type"],
        },
        rows=len(touched),
        where="trivago feedback",
    )


def _items(actions: pd.DataFrame, served: pd.DataFrame, lists: _ClickoutLists) -> pa.Table:
    """Every item listed or touched: the city where it was first seen, its median price (its city's if never listed)."""
    listed = pd.DataFrame({"item": lists.item, "city": served["city"].to_numpy()[lists.slate], "price": lists.price})
    touched = actions[actions["action_type"].isin(INTERACTIONS) & actions["reference"].str.isdigit()]
    touched = touched.sort_values("time")[["reference", "city"]].set_axis(["item", "city"], axis=1)
    seen = pd.concat([listed, touched])
    city = seen.groupby("item")["city"].first()
    price = seen.groupby("item")["price"].median()
    price = price.fillna(city.map(listed.groupby("city")["price"].median())).fillna(listed["price"].median())
    return table(
        ITEMS,
        {
            "item_id": city.index.to_series(),
            "merchant_id": city,
            "category": city,
            "price": pa.array(price.to_numpy()),
            "currency": CURRENCY,
            "in_stock": pa.array(np.ones(len(city), bool)),
        },
        rows=len(city),
        where="trivago items",
    )


def _merchants(items: pa.Table) -> pa.Table:
    return merchants(items["merchant_id"].unique().cast(pa.string()), where="trivago cities")


def _users(actions: pd.DataFrame) -> pa.Table:
    first = actions.groupby("user_id")["platform"].first()
    country = first.map(lambda name: COUNTRY.get(name, name))
    return table(
        USERS,
        {"user_id": first.index.to_series(), "country": country, "segment": first},
        rows=len(first),
        where="trivago users",
    )


def _ids(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode()
