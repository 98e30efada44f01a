from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from fake_service import fake_slate

from marketplace.log import LogUnavailable
from marketplace.memory_log import MemoryLog
from marketplace.schema import FEEDBACK, conform
from marketplace.slate_columns import flat
from marketplace.sqlite_log import SqliteLog
from serving.following import Follower
from serving.request import Request
from serving.shared_following import SharedFollower

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite"])
def log(request, tmp_path):
    made = MemoryLog() if request.param == "memory" else SqliteLog(tmp_path / "log.sqlite")
    yield made
    made.close()


class Recorder:
    """A store that keeps a list of what it was told."""

    def __init__(self):
        self.events, self.shown = [], []

    def update(self, feedback):
        self.events += feedback["feedback_id"].to_pylist()

    def show(self, slates):
        self.shown += flat(slates, "item_id").to_pylist()


def event(name, *, minutes=0):
    columns = {"feedback_id": name, "event": "click", "time": START + timedelta(minutes=minutes), "user_id": "u"}
    table = pa.Table.from_pylist([columns | {"item_id": "i"}])
    return conform(table, FEEDBACK, where="test")


def slate(name, *, minutes=0, items=("a", "b")):
    request = Request(request_id=name, time=START + timedelta(minutes=minutes), surface="home", user_id="u")
    return fake_slate(request, list(items))


def test_each_event_is_told_once_in_order_of_arrival_even_when_late(log):
    store, now = Recorder(), [0.0]
    follower = Follower(log, store, since=START, every=1.0, clock=lambda: now[0])
    log.append_feedback(event("second", minutes=5))
    follower.follow()
    log.append_feedback(event("late", minutes=1))
    log.append_feedback(event("second", minutes=5))
    log.append(slate("shown"))
    follower.follow()
    assert (store.events, store.shown) == (["second", "late"], [])
    now[0] = 2.0
    follower.follow()
    follower.follow(at_once=True)
    assert (store.events, store.shown) == (["second", "late"], ["a", "b"])


def test_events_that_were_read_when_the_catalogue_failed_are_told_the_next_time(log):
    class Failing:
        def follow(self):
            if log_fails[0]:
                raise LogUnavailable("locked")

    store, log_fails = Recorder(), [False]
    follower = Follower(log, store, since=START, every=0.0, live=Failing())
    log.append_feedback(event("only"))
    log_fails[0] = True
    with pytest.raises(LogUnavailable):
        follower.follow()
    log_fails[0] = False
    follower.follow()
    assert store.events == ["only"]


def test_what_the_bundle_knew_already_is_not_told_again(log):
    log.append_feedback(event("old", minutes=-1))
    log.append_feedback(event("new"))
    log.append(slate("old slate", minutes=-1))
    log.append(slate("new slate", items=("c",)))
    store = Recorder()
    Follower(log, store, since=START, every=0.0).follow()
    assert store.events == ["new"]
    assert store.shown == ["c"]


def test_many_slates_are_read_in_batches(log, monkeypatch):
    monkeypatch.setattr("serving.following.BATCH", 3)
    for number in range(8):
        log.append(slate(str(number), items=(str(number),)))
    store = Recorder()
    follower = Follower(log, store, since=START, every=0.0)
    follower.follow()
    assert sorted(store.shown) == [str(number) for number in range(8)]
    log.append(slate("8", items=("8",)))
    follower.follow()
    assert len(store.shown) == 9


@pytest.mark.parametrize("shared", [False, True])
def test_a_follower_ends_where_more_arrives_than_it_learns(log, monkeypatch, shared):
    class Busy(Recorder):
        """Of each list that it is told the shopper makes another one and clicks."""

        at = ""

        def position(self):
            return self.at

        def show(self, slates):
            super().show(slates)
            number = len(self.shown)
            log.append(slate(f"more {number}", items=(str(number),)))
            log.append_feedback(event(f"more {number}"))

        def learn(self, feedback, slates, *, after, upto):
            self.update(feedback)
            self.show(slates)
            self.at = upto
            return True

    monkeypatch.setattr("serving.following.BATCH", 2)
    monkeypatch.setattr("serving.shared_following.BATCH", 2)
    for number in range(4):
        log.append(slate(f"first {number}", items=(str(number),)))
    store = Busy()
    follower = (SharedFollower if shared else Follower)(log, store, since=START, every=0.0)
    follower.follow(at_once=True)
    assert store.shown == ["0", "1", "2", "3"]
    follower.follow(at_once=True)
    assert sorted(store.shown) == ["0", "1", "2", "2", "3", "4"]
    assert "more 2" in store.events


def test_a_request_teaches_a_shared_store_one_batch_at_most(log, monkeypatch):
    class Shared(Recorder):
        at = ""

        def position(self):
            return self.at

        def learn(self, feedback, slates, *, after, upto):
            self.show(slates)
            self.at = upto
            return True

    monkeypatch.setattr("serving.shared_following.BATCH", 2)
    for number in range(5):
        log.append(slate(f"first {number}", items=(str(number),)))
    store = Shared()
    follower = SharedFollower(log, store, since=START, every=0.0)
    follower.follow()
    assert store.shown == ["0", "1"]
    follower.follow(at_once=True)
    assert store.shown == list("01234")


def test_a_process_does_not_read_its_own_slates_back(log):
    store = Recorder()
    follower = Follower(log, store, since=START, every=0.0)
    for name in ("a", "b"):
        log.append(slate(name, items=(name,)))
        follower.logged(slate(name, items=(name,)))
    log.append(slate("other", items=("c",)))
    follower.follow()
    follower.follow()
    assert store.shown == ["a", "b", "c"]


def test_prices_are_learned_from_every_slate_once_in_order_of_arrival(log):
    """One's own slates among others': a price depends on the order, so that nobody may begin with its own."""

    class Prices:
        def __init__(self):
            self.learned = []

        def learn(self, slates):
            self.learned += slates["value"].to_pylist()

    store, pacing = Recorder(), Prices()
    follower = Follower(log, store, since=START, every=0.0, pacing=pacing)
    for name, items in (("other", "a"), ("own", "bc"), ("another", "def")):
        log.append(slate(name, items=tuple(items)))
        if name == "own":
            follower.logged(slate(name, items=tuple(items)))
    follower.follow()
    follower.follow()
    assert store.shown == list("abcdef")
    assert pacing.learned == [[0], [0, -1], [0, -1, -2]]


def test_two_services_on_one_log_know_the_same(tmp_path):
    mine, theirs = SqliteLog(tmp_path / "log.sqlite"), SqliteLog(tmp_path / "log.sqlite")
    a, b = Recorder(), Recorder()
    followers = [Follower(one, store, since=START, every=0.0) for one, store in ((mine, a), (theirs, b))]
    mine.append_feedback(event("mine"))
    theirs.append_feedback(event("theirs"))
    mine.append(slate("s", items=("x",)))
    for follower in followers:
        follower.follow()
    assert a.events == b.events == ["mine", "theirs"]
    assert a.shown == b.shown == ["x"]
