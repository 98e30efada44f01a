"""Requests, slates and feedback in the log's schemas."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from marketplace.keys import rows_of
from marketplace.schema import (
    EVENT_CODE,
    EVENTS,
    FEEDBACK,
    LABELLED_EVENTS,
    REQUEST_FIELDS,
    SLATE,
    SURFACES,
    TREATED,
    TREATED_CHANCE,
    conform,
)
from marketplace.simulator import words
from marketplace.simulator.candidates import SOURCES
from marketplace.simulator.columns import coded, constant, empty_map, full_map, lists, names, times
from marketplace.simulator.config import CURRENCY
from marketplace.simulator.events import Events
from marketplace.simulator.market import Market, price_on
from marketplace.simulator.record_market import item_names, merchant_names, user_names
from marketplace.simulator.requests import RequestBatch
from marketplace.simulator.shown import ShownLists
from marketplace.slate_columns import RequestLists, map_of_lists

VERSION = "simulator"
LOGGED = "r"  # of the names of logged requests
QUESTION = pa.schema(REQUEST_FIELDS[: [field.name for field in REQUEST_FIELDS].index("currency") + 1])
VERSIONED = ("retriever", "index", "ranker", "calibrator", "policy", "feature_spec")


def request_table(market: Market, requests: RequestBatch, *, prefix: str) -> pa.Table:
    """What is known when a request comes in: the slate's columns from request_id to currency."""
    config, count = market.config, len(requests)
    table = pa.table(
        {
            "request_id": names(prefix, count, digits=7),
            "time": times(config.start, requests.day),
            "surface": coded(requests.surface, SURFACES),
            "user_id": coded(requests.user, user_names(config.users)),
            "session_id": coded(
                requests.session, names(f"{prefix}s", int(requests.session.max(initial=0)) + 1, digits=7)
            ),
            "query": _queries(market, requests),
            "page_merchant_id": coded(requests.page_merchant, merchant_names(config.merchants)),
            "page_item_id": coded(requests.page_item, item_names(config.items)),
            "context": _context(market, requests),
            "currency": constant(CURRENCY, count),
        }
    )
    return conform(table, QUESTION, where="simulated requests")


def _sessions(session: np.ndarray, *, prefix: str) -> pa.DictionaryArray:
    return coded(session, names(f"{prefix}s", int(session.max(initial=0)) + 1, digits=7))


def _context(market: Market, requests: RequestBatch) -> pa.MapArray:
    people, user = market.shoppers, requests.user
    return full_map(
        {
            "country": coded(people.country[user], words.COUNTRIES),
            "city": coded(people.city[user], words.CITIES),
            "device": coded(people.device[user], words.DEVICES),
            "language": coded(people.arabic[user].astype(np.int8), ("en", "ar")),
        }
    )


def _queries(market: Market, requests: RequestBatch) -> pa.Array:
    """The category's word, with the brand's where it was named, in the shopper's language; null off search."""
    brands = len(words.BRANDS) + 1
    texts = [
        " ".join(filter(None, ((row.english.lower(), row.arabic)[arabic], brand[arabic])))
        for arabic in (0, 1)
        for row in words.CATEGORIES
        for brand in (("", ""), *((latin.lower(), name) for latin, name in words.BRANDS))
    ]
    arabic = market.shoppers.arabic[requests.user]
    code = (arabic * len(words.CATEGORIES) + requests.query_category) * brands + requests.query_brand + 1
    return coded(np.where(requests.query_category >= 0, code, -1), tuple(texts)).cast(pa.string())


def slates_table(
    market: Market, requests: RequestBatch, ranked: ShownLists, *, coupon: np.ndarray | None = None
) -> pa.Table:
    """SLATE rows; with `log_considered` the candidates that were not shown follow those that were.

    `coupon` bool [R, C]: which items bear one, None = there are none.
    """
    shown = ranked.shown
    kept = ranked.item >= 0 if market.config.log_considered else shown
    lengths, rows = kept.sum(axis=1), np.nonzero(kept)[0]
    item = ranked.item[kept]
    total, count = len(item), len(requests)
    position = np.where(shown, np.arange(1, shown.shape[1] + 1), 0)[kept].astype(np.int32)
    columns = {
        "item_id": coded(item, item_names(market.config.items)),
        "merchant_id": coded(market.items.merchant[item], merchant_names(market.config.merchants)),
        "price": pa.array(price_on(market, item, requests.day[rows])),
        "source": coded(ranked.source[kept], SOURCES),
        "retrieval_score": pa.array(np.log(market.items.popularity[item]).astype(np.float32)),
        "merchant_value": pa.array(np.zeros(total)),
        "value": pa.array(ranked.score[kept]),
        "position": pa.array(position),
        "propensity": pa.array(np.where(shown, ranked.propensity, np.nan)[kept]),
    }
    table = request_table(market, requests, prefix=LOGGED)
    for name in VERSIONED:
        table = table.append_column(f"{name}_version", constant(VERSION, count))
    for name in ("weights", "numeric", "categorical", "predictions"):
        table = table.append_column(name, empty_map(count, SLATE.field(name).type))
    if coupon is not None:
        numeric = _treatment(coupon[kept], lengths, market.config.coupon_share)
        table = table.set_column(table.column_names.index("numeric"), "numeric", numeric)
    for name, values in columns.items():
        table = table.append_column(name, lists(values, lengths))
    return conform(table, SLATE, where="simulated slates")


def _treatment(coupon: np.ndarray, lengths: np.ndarray, share: float) -> pa.MapArray:
    """The numeric entries of lists with coupons: who bears one [N], and the chance of it, one number a request."""
    count, offsets = len(lengths), np.append(0, np.cumsum(lengths))
    treated = RequestLists(offsets, pa.array(coupon.astype(np.float32)))
    chance = RequestLists(np.arange(count + 1), pa.array(np.full(count, share, np.float32)))
    return map_of_lists({TREATED: treated, TREATED_CHANCE: chance}, requests=count, values=pa.float32())


def feedback_table(
    market: Market,
    requests: RequestBatch,
    items: np.ndarray,
    events: Events,
    delays: dict[str, np.ndarray],
    *,
    prefix: str,
) -> pa.Table:
    """FEEDBACK rows in order of time; a refusal at the door is a return with detail `refused`.

    Row r of `requests` answers the request that `request_table` of the same `prefix` names in its row r.
    """
    happened = (events.seen, events.click, events.cart, events.order, events.refused | events.returned)
    places = [np.nonzero(flags) for flags in happened]
    rows = np.concatenate([row for row, _ in places])
    columns = np.concatenate([column for _, column in places])
    kind = np.repeat(np.arange(len(LABELLED_EVENTS)), [len(row) for row, _ in places])
    day = requests.day[rows] + np.concatenate(
        [delays[name][at] for name, at in zip(LABELLED_EVENTS, places, strict=True)]
    )
    order = np.argsort(day, kind="stable")
    rows, columns, kind, day = rows[order], columns[order], kind[order], day[order]
    amount = events.value[rows, columns]
    paid = kind >= EVENT_CODE["order"]  # or a return
    detail = np.where(kind == EVENT_CODE["return"], np.where(events.refused[rows, columns], 0, 1), -1)
    table = pa.table(
        {
            "feedback_id": names(f"{prefix}f", len(rows), digits=9),
            "request_id": names(prefix, len(requests), digits=7).take(pa.array(rows)),
            "event": coded(kind, EVENTS),
            "time": times(market.config.start, day),
            "user_id": coded(requests.user[rows], user_names(market.config.users)),
            "item_id": coded(items[rows, columns], item_names(market.config.items)),
            "amount": pa.array(amount, mask=~paid),
            "currency": coded(np.where(paid, 0, -1), (CURRENCY,)),
            "session_id": _sessions(requests.session[rows], prefix=prefix),
            "detail": coded(detail, ("refused", "returned")),
        }
    )
    return conform(table, FEEDBACK, where="simulated feedback")


def item_rows(ids: pa.Array | pa.ChunkedArray, count: int) -> np.ndarray:
    """Catalogue rows int32 of item ids; -1 for an id that the market does not know or null."""
    return rows_of(ids, item_names(count)).astype(np.int32)
