"""Attribution against a slow, obvious oracle, against the same logic in SQL, and its promises one by one."""

import math
import sqlite3
from collections import Counter
from dataclasses import asdict
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_slates import START, few, make_feedback, make_slate

from marketplace.attribution import LABELS, REASONS, AttributionCounts, AttributionWindows, attribute
from marketplace.schema import EVENTS, FEEDBACK, SLATE, SchemaError, empty
from marketplace.slate import slates_to_table, table_to_slates

WINDOW = asdict(AttributionWindows())
WINDOW["return"] = WINDOW.pop("returned")
EDGES = [0, 1, 59, 60, 1439, 1440, 4319, 4320, 10079, 10080, 64799, 64800]
MINUTES = st.integers(0, 59) | st.sampled_from(EDGES) | st.integers(-10, 80000)


@st.composite
def markets(draw):
    """A few slates and whatever a careless client might send, with the moment from which one looks."""
    made = []
    for r in range(draw(st.sampled_from([2, 1, 2, 0]))):
        items = tuple(draw(st.sampled_from(["abc", "ab", "aab", "cba", ""])))
        position = np.array([draw(st.sampled_from([1, 2, 3, 0])) for _ in items], np.int32)
        made.append(make_slate(f"r{r}", items=items, minutes=draw(st.sampled_from([0, 1, 30])), position=position))
    row = st.tuples(
        st.integers(0, 99).map(lambda i: f"f{i if i > 30 else 0}"),
        st.sampled_from(["r0", "r1", "r0", "r1", "gone", None]),
        st.sampled_from([*EVENTS, "order"]),
        st.sampled_from("aabbcd"),
        MINUTES,
        st.sampled_from([2.5, None, 0.0, 2.5, 4.0, -1.0, math.nan, math.inf]),
    )
    currencies = st.sampled_from(["SAR", None, "AED"])
    parts = [make_feedback(*draw(st.lists(row, max_size=9)), currency=draw(currencies)) for _ in range(3)]
    as_of = draw(
        st.none() | (st.sampled_from([30000, 70000]) | MINUTES).map(lambda minutes: START + timedelta(minutes=minutes))
    )
    feedback = pa.concat_tables(parts)
    users = draw(st.lists(st.sampled_from("uuv"), min_size=len(feedback), max_size=len(feedback)))
    return slates_to_table(made), with_column(feedback, "user_id", users), as_of


def with_column(table, name, values):
    place, spec = table.column_names.index(name), table.schema.field(name)
    return table.set_column(place, spec, pa.array(values, pa.string()).cast(spec.type))


MONEY = ("order_value", "refunded", "net_value")


def oracle(slates, feedback, as_of):
    """Event by event, row by row."""
    events = sorted(feedback.to_pylist(), key=lambda event: event["time"])
    known_times = [*slates["time"].to_pylist(), *feedback["time"].to_pylist()]
    now = as_of or max(known_times, default=START) + timedelta(microseconds=1)
    kept = [slate for slate in table_to_slates(slates) if slate.time < now]
    rows = [[dict.fromkeys(LABELS.names, False) | dict.fromkeys(MONEY, 0.0) for _ in slate.item_id] for slate in kept]
    counts, seen_ids, used = Counter(events=len(events)), set(), []
    for event in events:
        place = _place(event, kept, now, seen_ids)
        counts["used" if isinstance(place, tuple) else place] += 1
        if isinstance(place, tuple):
            used.append((event, *place))
    for event, r, i in used:
        row, amount = rows[r][i], event["amount"]
        if event["event"] == "order":
            row["order_value"] += kept[r].price[i] if amount is None else amount
        if event["event"] in ("order", "return"):
            counts["priced_as_shown"] += amount is None
        row[{"impression": "seen", "return": "returned"}.get(event["event"], event["event"])] = True
        row["refunded"] += (kept[r].price[i] if amount is None else amount) if event["event"] == "return" else 0.0
    logged = any(event["event"] == "impression" and event["time"] < now for event in events)
    for r, slate in enumerate(kept):
        for i, row in enumerate(rows[r]):
            row["click"] |= row["cart"] | row["order"]
            row["seen"] = row["seen"] | row["click"] if logged else bool(slate.position[i] > 0)
            row["returned"] &= row["order"]
            row["refunded"] *= row["returned"]
            row["kept_order"] = row["order"] and not row["returned"]
            row["net_value"] = max(row["order_value"] - row["refunded"], 0.0)
            row["mature"] = now - slate.time >= timedelta(days=7)
            row["return_mature"] = now - slate.time >= timedelta(days=45)
    counts["without_order"] = sum(e["event"] == "return" and not rows[r][i]["order"] for e, r, i in used)
    return [row for part in rows for row in part], AttributionCounts(**counts)


def _place(event, kept, now, seen_ids):
    """(request, item) of an event that counts, else the name of the reason why it does not."""
    if event["time"] >= now:
        return "future"
    repeat = event["feedback_id"] in seen_ids
    seen_ids.add(event["feedback_id"])
    if event["event"] in ("view", "wishlist"):
        return "unlabelled"
    if repeat:
        return "duplicate"
    if event["request_id"] is None:
        return "without_request"
    request = [r for r, slate in enumerate(kept) if slate.request_id == event["request_id"]]
    if not request:
        return "orphan_request"
    slate = kept[request[0]]
    if event["user_id"] != slate.user_id:
        return "other_user"
    item = [i for i, name in enumerate(slate.item_id) if name == event["item_id"] and slate.position[i] > 0]
    if not item:
        return "orphan_item"
    if event["time"] < slate.time:
        return "early"
    if event["time"] - slate.time >= WINDOW[event["event"]]:
        return "late"
    if event["event"] in ("order", "return"):
        if event["amount"] is not None and not 0 <= event["amount"] < math.inf:
            return "bad_amount"
        if event["currency"] not in (None, slate.currency):
            return "other_currency"
    return request[0], item[0]


@settings(few, max_examples=150)
@given(markets())
def test_labels_and_counts_are_the_oracles(market):
    slates, feedback, as_of = market
    got = attribute(slates, feedback, as_of=as_of)
    labels, counts = oracle(slates, feedback, as_of)
    assert got.labels.to_pylist() == labels
    assert got.counts == counts


SQL = """
WITH known AS (SELECT *, row_number() OVER (PARTITION BY feedback_id ORDER BY time, n) AS delivery
               FROM feedback WHERE time < :now),
     first AS (SELECT * FROM known WHERE delivery = 1),
     place AS (SELECT request_id, item_id, min(n) AS n FROM rows WHERE position > 0 GROUP BY request_id, item_id),
     joined AS (
       SELECT rows.n, first.event, coalesce(first.amount, rows.price) AS amount
       FROM first JOIN place USING (request_id, item_id) JOIN rows ON rows.n = place.n JOIN windows USING (event)
       WHERE rows.time < :now AND first.user_id = 'u'
         AND first.time >= rows.time AND first.time < rows.time + windows.length
         AND (first.event NOT IN ('order', 'return')
              OR (coalesce(first.amount, 0) >= 0 AND coalesce(first.amount, 0) < 9e999 AND NOT first.is_nan
                  AND coalesce(first.currency, rows.currency) = rows.currency)))
SELECT coalesce(max(event = 'order'), 0), coalesce(max(event IN ('click', 'cart', 'order')), 0),
       coalesce(sum(CASE event WHEN 'order' THEN amount END), 0.0),
       coalesce(max(event = 'order') * max(event = 'return'), 0)
FROM rows LEFT JOIN joined USING (n) WHERE rows.time < :now GROUP BY rows.n ORDER BY rows.n
"""


@few
@given(markets())
def test_sql_gives_the_same_labels(market):
    slates, feedback, as_of = market
    as_of = as_of or START + timedelta(days=90)
    labels = attribute(slates, feedback, as_of=as_of).labels
    columns = ("order", "click", "order_value", "returned")
    assert _by_sql(slates, feedback, as_of) == list(zip(*(labels[c].to_pylist() for c in columns), strict=True))


def _by_sql(slates, feedback, as_of):
    def micro(time):
        return (time - START) // timedelta(microseconds=1)

    with sqlite3.connect(":memory:") as db:
        db.execute("CREATE TABLE rows (n INTEGER PRIMARY KEY, request_id, item_id, position, price, time, currency)")
        db.execute("CREATE TABLE feedback (n INTEGER PRIMARY KEY, feedback_id, request_id, event, item_id, time,"
                   " amount, is_nan, currency, user_id)")  # fmt: skip
        db.execute("CREATE TABLE windows (event, length)")
        db.executemany(
            "INSERT INTO windows VALUES (?, ?)", [(name, w // timedelta(microseconds=1)) for name, w in WINDOW.items()]
        )
        for s in table_to_slates(slates):
            rows = zip(s.item_id, s.position.tolist(), s.price.tolist(), strict=True)
            cells = [(s.request_id, *row, micro(s.time), s.currency) for row in rows]
            names = "request_id, item_id, position, price, time, currency"
            db.executemany(f"INSERT INTO rows ({names}) VALUES (?, ?, ?, ?, ?, ?)", cells)
        for e in feedback.to_pylist():
            row = (e["feedback_id"], e["request_id"], e["event"], e["item_id"], micro(e["time"]), e["amount"])
            is_nan = e["amount"] is not None and math.isnan(e["amount"])
            db.execute("INSERT INTO feedback (feedback_id, request_id, event, item_id, time, amount, is_nan, currency,"
                       " user_id) VALUES (?,?,?,?,?,?,?,?,?)", (*row, is_nan, e["currency"], e["user_id"]))  # fmt: skip
        rows = db.execute(SQL, {"now": micro(as_of)}).fetchall()
    return [(bool(order), bool(click), value, bool(returned)) for order, click, value, returned in rows]


@few
@given(markets())
def test_what_happens_later_never_changes_what_was_known(market):
    slates, feedback, as_of = market
    as_of = as_of or START + timedelta(hours=1)
    known = feedback.filter(pa.array([t < as_of for t in feedback["time"].to_pylist()], pa.bool_()))
    before = slates.filter(pa.array([t < as_of for t in slates["time"].to_pylist()], pa.bool_()))
    assert attribute(slates, feedback, as_of=as_of).labels.equals(attribute(before, known, as_of=as_of).labels)


@few
@given(markets())
def test_mature_labels_are_final(market):
    slates, feedback, as_of = market
    as_of = as_of or START + timedelta(days=8)
    now, late = (attribute(slates, feedback, as_of=t) for t in (as_of, START + timedelta(days=900)))
    first = {slate.request_id for slate in table_to_slates(now.slates)}
    stay = np.repeat(
        [s.request_id in first for s in table_to_slates(late.slates)], [len(s) for s in table_to_slates(late.slates)]
    )
    for names, flag in (
        (("click", "cart", "order", "order_value"), "mature"),
        (("returned", "refunded"), "return_mature"),
    ):
        mature = now.labels[flag].to_numpy()
        for name in names:
            np.testing.assert_array_equal(
                now.labels[name].to_numpy()[mature], late.labels[name].to_numpy()[stay.astype(bool)][mature]
            )


@few
@given(markets(), st.randoms())
def test_the_order_of_slates_does_not_matter(market, random):
    slates, feedback, as_of = market
    order = list(range(len(slates)))
    random.shuffle(order)
    as_of = as_of or START + timedelta(days=90)
    mixed = attribute(slates.take(pa.array(order, pa.int64())), feedback, as_of=as_of)
    straight = attribute(slates, feedback, as_of=as_of)
    assert mixed.counts == straight.counts
    assert _by_request(mixed) == _by_request(straight)


def _by_request(got) -> dict:
    labels, result = iter(got.labels.to_pylist()), {}
    for slate in table_to_slates(got.slates):
        result[slate.request_id] = [next(labels) for _ in slate.item_id]
    return result


def one(*events, **changes):
    """The labels of item a of one slate, and the counts."""
    got = attribute(
        slates_to_table([make_slate("r")]), make_feedback(*events), as_of=START + timedelta(days=60), **changes
    )
    return got.labels.to_pylist()[0], got.counts


def test_an_order_implies_a_click_and_sight_even_where_their_events_were_lost():
    labels, _ = one(("f1", "r", "order", "a", 5, 20.0), ("f2", "r", "impression", "b", 0, None))
    assert labels["seen"]
    assert labels["click"]
    assert labels["order"]
    assert not labels["cart"]


def test_order_values_add_up_and_a_return_keeps_them_but_says_so():
    labels, counts = one(
        ("f1", "r", "order", "a", 5, 20.0), ("f2", "r", "order", "a", 6, 5.0), ("f3", "r", "return", "a", 9000, 5.0)
    )
    assert labels["order_value"] == 25.0
    assert labels["returned"]
    assert labels["refunded"] == 5.0
    assert counts.used == 3


def test_an_order_without_amount_is_worth_the_price_shown():
    labels, counts = one(("f1", "r", "order", "a", 5, None))
    assert labels["order_value"] == 1.0
    assert counts.priced_as_shown == 1


def test_of_repeated_deliveries_the_earliest_counts():
    labels, counts = one(("f1", "r", "order", "a", 6, 5.0), ("f1", "r", "order", "a", 5, 20.0))
    assert labels["order_value"] == 20.0
    assert counts.duplicate == 1


def test_a_window_can_be_changed():
    event = ("f1", "r", "click", "a", 30, None)
    assert one(event)[0]["click"]
    labels, counts = one(event, windows=AttributionWindows(click=timedelta(minutes=30)))
    assert not labels["click"]
    assert counts.late == 1


def test_a_shown_item_counts_as_seen_only_where_sight_is_not_recorded():
    assert one(("f1", "r", "click", "b", 0, None))[0]["seen"]
    assert not one(("f1", "r", "impression", "b", 0, None))[0]["seen"]


def test_a_request_id_that_occurs_twice_is_refused():
    slates = slates_to_table([make_slate("r"), make_slate("s"), make_slate("r")])
    with pytest.raises(SchemaError, match=r"request_id 'r' occurs twice \(rows 0 and 2\)"):
        attribute(slates, empty(FEEDBACK))


def test_as_of_needs_a_time_zone():
    with pytest.raises(SchemaError, match="no time zone"):
        attribute(empty(SLATE), empty(FEEDBACK), as_of=START.replace(tzinfo=None))


def test_counts_add_up():
    assert AttributionCounts(events=2, used=1) + AttributionCounts(events=3, late=2) == AttributionCounts(
        events=5, used=1, late=2
    )


def test_who_logs_in_during_a_visit_is_one_shopper():
    slates = slates_to_table([make_slate("r", session_id="visit", user_id="guest")])
    feedback = with_column(
        make_feedback(("f1", "r", "click", "a", 1, None), ("f2", "r", "click", "b", 1, None)),
        "session_id",
        ["visit", None],
    )
    got = attribute(slates, feedback)
    assert [REASONS[code] for code in got.reason] == ["used", "other_user"]
    assert got.counts.without_use == {"other_user": 1}


def test_an_order_of_amount_0_is_an_order():
    got = attribute(slates_to_table([make_slate("r")]), make_feedback(("f1", "r", "order", "a", 1, 0.0)))
    assert got.labels["order"].to_pylist() == [True, False, False]
    assert got.labels["order_value"].to_pylist() == [0.0, 0.0, 0.0]
