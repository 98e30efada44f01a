"""A worker goes on where the last one was, and reads the log anew wherever the checkpoint does not fit."""

import numpy as np
import pytest
from test_following import START, Recorder, event, slate

from marketplace.sqlite_log import SqliteLog
from serving.following import Follower
from serving.store_checkpoint import BEGINNING, LogPosition, StoreCheckpoint


class Keeper(Recorder):
    """A `Recorder` that can be saved."""

    def save(self, path, *, extra):
        np.savez(path, events=np.array(self.events, np.str_), shown=np.array(self.shown, np.str_), **extra)

    def restore(self, path):
        with np.load(path, allow_pickle=False) as file:
            self.events, self.shown = file["events"].tolist(), file["shown"].tolist()


class Counted(SqliteLog):
    """Counts the rows that it hands to followers."""

    rows = 0

    def shown_after(self, *arguments, **options):
        table, mark = super().shown_after(*arguments, **options)
        self.rows += len(table)
        return table, mark

    def feedback_after(self, *arguments, **options):
        table, mark = super().feedback_after(*arguments, **options)
        self.rows += len(table)
        return table, mark


@pytest.fixture
def path(tmp_path):
    """A log with three events and three slates, one of each from before START."""
    log = SqliteLog(tmp_path / "log.sqlite")
    for minutes, name in ((0, "a"), (-5, "b"), (1, "c")):
        log.append(slate(name, minutes=minutes, items=(name,)))
        log.append_feedback(event(name, minutes=minutes))
    log.close()
    return tmp_path / "log.sqlite"


def worker(path, *, bundle="b1"):
    """A store that has followed the log, its follower, and the rows that it read."""
    log, store = Counted(path), Keeper()
    follower = Follower(log, store, since=START, every=0.0, checkpoint=StoreCheckpoint(path, bundle=bundle))
    follower.follow()
    return store, follower, log


def test_the_next_worker_reads_only_what_arrived_since(path):
    store, follower, log = worker(path)
    assert (store.events, store.shown, log.rows) == (["a", "c"], ["a", "c"], 4)
    follower.keep()
    log.append(slate("d", items=("d",)))
    again, _, reading = worker(path)
    assert (again.events, again.shown, reading.rows) == (["a", "c"], ["a", "c", "d"], 1)


def test_a_worker_that_is_behind_does_not_overwrite_what_another_kept(path):
    _, behind, _ = worker(path)
    SqliteLog(path).append_feedback(event("d"))
    _, ahead, _ = worker(path)
    ahead.keep()
    behind.keep()
    assert StoreCheckpoint(path, bundle="b1")._read()[0] == LogPosition(feedback=4, slates=3)


def test_many_rows_are_kept_without_being_told_to(path, monkeypatch):
    monkeypatch.setattr("serving.following.EVERY", 6)
    worker(path)
    assert StoreCheckpoint(path, bundle="b1").path.exists()


@pytest.mark.parametrize("fault", ["truncated", "another bundle", "another log", "a shorter log", "another store"])
def test_a_checkpoint_that_does_not_fit_is_not_used(path, fault, tmp_path, caplog):
    _, follower, _ = worker(path)
    follower.keep()
    kept = StoreCheckpoint(path, bundle="b1").path
    if fault == "truncated":
        kept.write_bytes(kept.read_bytes()[:300])
    elif fault == "another store":
        np.savez(kept, **{name: values for name, values in np.load(kept).items() if name != "events"})
    elif fault in ("another log", "a shorter log"):
        path.unlink()
        log = SqliteLog(path)
        for name in ("x", "y", "z")[: 3 if fault == "another log" else 1]:
            log.append(slate(name, items=(name,)))
            log.append_feedback(event(name))
        log.close()
    expected = {"another log": ["x", "y", "z"], "a shorter log": ["x"]}.get(fault, ["a", "c"])
    store, _, _ = worker(path, bundle="b2" if fault == "another bundle" else "b1")
    assert (store.events, store.shown) == (expected, expected)
    assert ("is not used" in caplog.text) == (fault != "another bundle")


def test_the_checkpoints_of_two_bundles_are_kept_and_no_drafts(path, tmp_path):
    for bundle in ("b1", "b2", "b3"):
        worker(path, bundle=bundle)[1].keep()
    names = sorted(file.name for file in tmp_path.iterdir() if "store" in file.name)
    assert names == ["log.sqlite.store-b2.npz", "log.sqlite.store-b3.npz"]


def test_shadow_prices_go_on_where_they_were(path):
    class Prices:
        def __init__(self):
            self.prices = np.zeros(3)

        def learn(self, slates):
            self.prices[:] += len(slates)

    log, store, prices = SqliteLog(path), Keeper(), Prices()
    checkpoint = StoreCheckpoint(path, bundle="b1")
    first = Follower(log, store, since=START, every=0.0, pacing=prices, checkpoint=checkpoint)
    first.follow()
    first.keep()
    again = Prices()
    assert checkpoint.restore(Keeper(), again, log) == LogPosition(feedback=3, slates=3)
    assert again.prices.tolist() == [2.0, 2.0, 2.0]
    more = Prices()
    more.prices = np.zeros(4)
    assert checkpoint.restore(Keeper(), more, log) == BEGINNING
    assert more.prices.tolist() == [0.0] * 4
