"""What callers say that shoppers did is believed where it answers a slate that was shown; the rest is set apart."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from fake_service import fake_slate

from marketplace.attribution import attribute
from marketplace.log import Receipt
from marketplace.memory_log import MemoryLog
from marketplace.schema import FEEDBACK, conform
from marketplace.simulator import SimulatorConfig, simulate
from marketplace.slate import table_to_slates
from marketplace.sqlite_log import SqliteLog
from serving.feedback_checks import NO_DETAILS, OrderDetails, Sender, checked, own_id
from serving.request import Request

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite"])
def log(request, tmp_path):
    """Slate `r` shows ann items a, b at 10 and 20 SAR in the visit v, and keeps c; slate `s` shows bob a."""
    made = MemoryLog() if request.param == "memory" else SqliteLog(tmp_path / "log.sqlite")
    for name, user, items, k in (("r", "ann", "abc", 2), ("s", "bob", "a", 1)):
        answered = Request(request_id=name, time=START, surface="home", user_id=user, k=k, session_id="v" + user)
        slate = fake_slate(answered, list(items))
        made.append(replace(slate, price=10.0 * np.arange(1, len(items) + 1), session_id="v" + user))
    yield made
    made.close()


def event(feedback_id="f", request_id="r", **changes):
    row = {"feedback_id": feedback_id, "request_id": request_id, "event": "click", "user_id": "ann", "item_id": "a"}
    return row | {"time": START + timedelta(minutes=1), "amount": None, "currency": None} | changes


def order(feedback_id="o", *, amount=10.0, **changes):
    return event(feedback_id, **{"event": "order", "amount": amount, "currency": "SAR"} | changes)


def table(*rows):
    plain = {f.name: f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in FEEDBACK}
    columns = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in plain.items()}
    return conform(pa.table(columns), FEEDBACK, where="test")


def recorded(log, *rows, sender=Sender.ANYBODY, details=NO_DETAILS):
    batch = checked(table(*rows), log, sender=sender, details=details)
    return log.append_feedback(batch.events, reasons=batch.reasons, order_keys=batch.order_keys)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (event(), None),
        (event(event="impression", item_id="b"), None),
        (event(user_id="ann's other name", session_id="vann"), None),
        (event(request_id=None), None),
        (event(request_id="nobody's"), "unknown_request"),
        (event(user_id="eve"), "other_shopper"),
        (event(user_id="eve", session_id="another visit"), "other_shopper"),
        (event(item_id="c"), "not_shown"),
        (event(item_id="z"), "not_shown"),
        (event(request_id="s", user_id="bob", item_id="b"), "not_shown"),
        (order(amount=0.0), None),
        (order(amount=150.0), None),
        (order(amount=150.1), "amount"),
        (order(amount=300.0, item_id="b"), None),
        (order(event="return", amount=151.0), "amount"),
    ],
)
def test_an_event_is_believed_where_it_answers_a_slate_that_was_shown_to_its_shopper(log, row, reason):
    receipt = recorded(log, row)
    assert receipt == (Receipt(1, 0) if reason is None else Receipt(0, 0, {reason: 1}))
    assert log.feedback()["feedback_id"].to_pylist() == ([] if reason else [row["feedback_id"]])
    kept = log.quarantined()
    assert kept["reason"].to_pylist() == ([reason] if reason else [])
    assert kept["item_id"].to_pylist() == ([row["item_id"]] if reason else [])


def test_who_may_send_answers_alone_and_who_may_send_everything(log):
    alone, elsewhere = event("alone", request_id=None), event("elsewhere", request_id="of another log", item_id="z")
    receipt = recorded(log, alone, elsewhere, event("answer"), sender=Sender.SHOPPERS)
    assert receipt == Receipt(1, 0, {"unanswered": 1, "unknown_request": 1})
    assert recorded(log, alone, elsewhere, sender=Sender.TRUSTED) == Receipt(2, 0)


def test_a_quantity_says_what_an_amount_may_be(log):
    details = OrderDetails([1, 20], ["o1", "o2"])
    receipt = recorded(log, order("one", amount=15.1), order("many", amount=300.0), details=details)
    assert receipt == Receipt(1, 0, {"amount": 1})


def test_an_order_counts_once_an_item_under_whatever_feedback_ids(log):
    ids = OrderDetails([], ["o1", "o1", "o1", "o2"])
    rows = order("x"), order("y"), order("z", item_id="b"), order("w")
    assert recorded(log, *rows, details=ids) == Receipt(3, 0, {"repeated_order": 1})
    assert recorded(log, *rows, details=ids) == Receipt(0, 3, {"repeated_order": 1})
    assert log.quarantined()["feedback_id"].to_pylist() == ["y"]
    labels = attribute(log.slates(), log.feedback())
    assert labels.labels["order_value"].to_numpy().sum() == 30.0


def test_an_order_without_an_id_is_known_by_its_slate_and_else_by_itself(log):
    assert recorded(log, order("x"), order("y")) == Receipt(1, 0, {"repeated_order": 1})
    assert recorded(log, order("p", request_id=None), order("q", request_id=None)) == Receipt(2, 0)


def test_an_id_that_anothers_event_has_taken_does_not_make_this_one_its_repeat(log):
    assert recorded(log, event("f", user_id="eve", request_id=None)) == Receipt(1, 0)
    assert recorded(log, event("f")) == Receipt(1, 0)
    assert recorded(log, event("f"), event("f", time=START + timedelta(minutes=9))) == Receipt(0, 2)
    names = log.feedback()["feedback_id"].to_pylist()
    assert names == ["f", own_id("f", "r", "click", "ann", "a")]
    assert recorded(log, event("g", user_id="eve")) == Receipt(0, 0, {"other_shopper": 1})
    assert recorded(log, event("g")) == Receipt(1, 0)


def test_an_order_id_that_another_shopper_has_used_blocks_nobody(log):
    assert recorded(log, order("x", user_id="bob", request_id="s"), details=OrderDetails([], ["o1"])) == Receipt(1, 0)
    assert recorded(log, order("y"), details=OrderDetails([], ["o1"])) == Receipt(1, 0)


def test_feedback_finds_the_slate_that_was_logged_under_an_id_of_its_own(log):
    """Bob's slate has the id `s`; ann asked under the same id, and her client sends that one back."""
    answered = Request(request_id=own_id("s", "ann"), time=START, surface="home", user_id="ann", k=1)
    log.append(fake_slate(answered, ["b"]))
    assert recorded(log, event("x", request_id="s", item_id="b")) == Receipt(1, 0)
    assert recorded(log, event("y", request_id="s", item_id="a")) == Receipt(0, 0, {"not_shown": 1})
    assert log.feedback()["request_id"].to_pylist() == [own_id("s", "ann")]
    assert recorded(log, event("z", request_id="s", user_id="bob")) == Receipt(1, 0)


def test_a_batch_of_many_slates_is_judged_event_by_event(log):
    for number in range(700):
        answered = Request(request_id=f"n{number}", time=START, surface="home", user_id=f"u{number}", k=1)
        log.append(fake_slate(answered, [f"i{number}", "other"]))
    rows = [event(f"n{n}", request_id=f"n{n}", user_id=f"u{n}", item_id=f"i{n + n % 2}") for n in range(700)]
    assert recorded(log, *rows) == Receipt(350, 0, {"not_shown": 350})


def test_everything_that_simulated_shoppers_did_is_believed():
    small = replace(SimulatorConfig.small(), requests=300, users=100, items=300, merchants=30)
    dataset = simulate(small, np.random.default_rng(2)).dataset
    log = MemoryLog()
    for slate in table_to_slates(dataset.slates):
        log.append(slate)
    batch = checked(dataset.feedback, log, sender=Sender.SHOPPERS)
    receipt = log.append_feedback(batch.events, reasons=batch.reasons, order_keys=batch.order_keys)
    assert receipt == Receipt(len(dataset.feedback), 0)
    assert "order" in log.feedback()["event"].to_pylist()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (START + timedelta(seconds=5), START + timedelta(seconds=5.4)),  # of the slate's own second
        (START + timedelta(seconds=4), START + timedelta(seconds=4)),
        (START + timedelta(seconds=5.1), START + timedelta(seconds=5.1)),  # this clock counts parts of a second
        (START + timedelta(seconds=6), START + timedelta(seconds=6)),
    ],
)
def test_a_click_in_whole_seconds_is_not_before_the_slate_of_its_own_second(sent, kept):
    made, shown_at = MemoryLog(), START + timedelta(seconds=5.4)
    made.append(fake_slate(Request(request_id="r", time=shown_at, surface="home", user_id="ann", k=2), list("ab")))
    recorded(made, event(time=sent))
    assert made.feedback()["time"].to_pylist() == [kept]
    assert attribute(made.slates(), made.feedback()).labels["click"].to_pylist()[0] == (kept >= shown_at)
