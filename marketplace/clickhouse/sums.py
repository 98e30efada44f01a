"""Sums that ClickHouse makes where the log lies: by hour or day, and by an experiment's variants, in bounded memory.

By hour they are kept with every part of the tables (the projections `hourly`), so that a month is summed at once. A
slate that two writers stored at once is counted twice there until its parts are merged; one writer stores none twice.
"""

from __future__ import annotations

import pyarrow as pa

from marketplace.attribution import AttributionWindows
from marketplace.clickhouse.clickhouse_log import ClickhouseLog
from marketplace.schema import LABELLED_EVENTS

PERIODS = {"hour": "toStartOfHour", "day": "toStartOfDay"}
SHOWN = """SELECT toDateTime64({period}(hour), 6, 'UTC') AS start,
    sum(requests) AS requests, sum(items) AS items, sum(seen) AS shown
FROM (
    SELECT toStartOfHour(time) AS hour, count() AS requests, sum(considered) AS items, sum(shown) AS seen
    FROM slates GROUP BY hour)
GROUP BY start ORDER BY start"""
EVENTS = """SELECT toDateTime64({period}(hour), 6, 'UTC') AS start, event, currency,
    sum(events) AS events, sum(amount) AS amount
FROM (
    SELECT toStartOfHour(time) AS hour, event, currency, count() AS events, sum(amount) AS amount
    FROM feedback GROUP BY hour, event, currency)
GROUP BY start, event, currency ORDER BY start, event, currency"""

# What `marketplace.attribution.attribute` makes labels of, in SQL: an event counts for the item shown that it names, by
# the shopper of its slate or in the same visit, within its window; an order or a cart implies a click.
VARIANTS = """
WITH exposed AS (
    SELECT request_id, user_id, session_id, time, currency,
        arrayFilter((item, place) -> place > 0, item_id, position) AS items,
        arrayFilter((item, place) -> place > 0, price, position) AS prices,
        splitByChar(';', assumeNotNull(variant))[
            indexOf(splitByChar(';', assumeNotNull(experiment)), {{experiment:String}})] AS arm
    FROM slates FINAL
    WHERE has(splitByChar(';', ifNull(experiment, '')), {{experiment:String}})),
answered AS (
    SELECT arm, exposed.user_id AS user_id, max(event = 'order') AS orders,
        sumIf(ifNull(f.amount, prices[indexOf(items, item_id)]), event = 'order') AS amount
    FROM feedback AS f FINAL JOIN exposed ON f.request_id = exposed.request_id
    WHERE event IN ('click', 'cart', 'order') AND has(items, item_id)
        AND (f.user_id = exposed.user_id OR ifNull(f.session_id = exposed.session_id, false))
        AND f.time >= exposed.time
        AND f.time < exposed.time
            + toIntervalMicrosecond(multiIf(event = 'click', {click}, event = 'cart', {cart}, {order}))
        AND (event != 'order' OR ifNull(f.currency, exposed.currency) = exposed.currency)
    GROUP BY arm, user_id, f.request_id, item_id),
users AS (
    SELECT arm, user_id, sum(r) AS requests, sum(s) AS shown, sum(c) AS clicks, sum(o) AS orders, sum(a) AS amount
    FROM (
        SELECT arm, user_id, 1 AS r, length(items) AS s, 0 AS c, 0 AS o, 0 AS a FROM exposed
        UNION ALL
        SELECT arm, user_id, 0, 0, 1, orders, amount FROM answered)
    GROUP BY arm, user_id)
SELECT arm AS variant, count() AS users, sum(users.requests) AS requests, {moments}
FROM users GROUP BY arm ORDER BY arm"""
OUTCOMES = ("shown", "clicks", "orders", "amount")
MOMENTS = ", ".join(
    f"avg(users.{name}) AS {name}, stddevSamp(users.{name}) / sqrt(count()) AS {name}_error" for name in OUTCOMES
)


def period_sums(log: ClickhouseLog, *, by: str) -> tuple[pa.Table, pa.Table]:
    """(start, requests, items, shown) and (start, event, currency, events, amount) by hour or by day."""
    slates, events = (query.format(period=PERIODS[by]) for query in (SHOWN, EVENTS))
    return log.connection.table(slates), log.connection.table(events)


def variant_sums(log: ClickhouseLog, experiment: str) -> pa.Table:
    """By variant: users, requests, and the mean a user of items shown, clicked, ordered and their amount, with errors.

    All that is on record counts, from the first slate to the last: whose windows are open is not left out.
    """
    windows = dict(zip(LABELLED_EVENTS, AttributionWindows().microseconds(), strict=False))
    query = VARIANTS.format(moments=MOMENTS, **{event: windows[event] for event in ("click", "cart", "order")})
    return log.connection.table(query, {"experiment": experiment})
