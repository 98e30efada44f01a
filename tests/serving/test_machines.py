"""Machines with logs of their own answer as one machine does that has seen everything, and count nothing twice."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import redis
from click.testing import CliRunner
from fake_service import fake_slate

from features.backends.redis_slates import SharedSlates
from features.store import StoreUnavailable
from jobs.cli import cli
from jobs.gather import Gatherer
from marketplace.catalogue_records import CatalogueUpdate, Subject
from marketplace.log import REPEATED_ORDER
from marketplace.schema import FEEDBACK, conform
from marketplace.sqlite_log import SqliteLog
from retrieval.item_filter import ItemFilter
from serving.bundle import build_engine, redis_store
from serving.feedback_checks import READ, OrderDetails, Sender
from serving.machine_log import MachineLog
from serving.request import Request
from serving.wsgi import create


class TwoLogs:
    """Two machines, and the log where their logs come together, as topics bring them."""

    def __init__(self, bundle, folder, url):
        self.bundle, self.logs = bundle, [MachineLog(folder / f"{name}.sqlite", SharedSlates(url)) for name in "ab"]
        self.machines = [self.engine(log, url) for log in self.logs]
        self.gathered = SqliteLog(folder / "all.sqlite")
        self.gatherer = Gatherer(bundle.folder, self.gathered, url)

    def engine(self, log, url):
        store = redis_store(self.bundle, url, log=log)
        return build_engine(self.bundle, log=log, store=store)

    def gather(self):
        """All that both logs hold, again and again; what became of their events."""
        receipts = []
        for log in self.logs:
            self.gathered.append_slates(log.slates())
            events, keys, _ = log.events_after(0, most=1000)
            receipts.append(self.gathered.append_feedback(events, order_keys=keys))
        self.gatherer.follow()
        return receipts


@pytest.fixture
def market(bundle, tmp_path, redis_url):
    url = f"{redis_url.removesuffix('/0')}/9"
    redis.Redis.from_url(url).flushdb()
    made = TwoLogs(bundle, tmp_path, url)
    yield made
    for log in (*made.logs, made.gathered):
        log.close()


def event(name, kind, slate, *, seconds, item):
    row = {"feedback_id": name, "event": kind, "time": slate.time + timedelta(seconds=seconds), "item_id": item}
    row |= {"user_id": slate.user_id, "request_id": slate.request_id}
    return conform(pa.Table.from_pylist([row]), FEEDBACK, where="test")


def top(slate):
    return str(slate.item_id[slate.position == 1][0])


def test_two_machines_answer_as_one_and_count_once(market):
    one, other = market.machines
    start = one.parts.known_until + timedelta(hours=1)

    def request(name, minutes):
        return Request(name, start + timedelta(minutes=minutes), "home", "newcomer", k=5, seed=3)

    first = one.rank(request("first", 0)).slate
    again = other.rank(request("first", 0)).slate
    for name in ("item_id", "position", "value", "propensity"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    item = top(first)
    second = one.rank(request("second", 1)).slate
    assert other.logged("second").item_id.tolist() == second.item_id.tolist()
    click = event("click", "click", second, seconds=1, item=top(second))
    assert other.record(click, sender=Sender.SHOPPERS).accepted == 1
    assert one.record(click, sender=Sender.SHOPPERS).accepted == 1
    for machine, name in zip(market.machines, ("mine", "theirs"), strict=True):
        order = event(name, "order", first, seconds=9, item=item)
        details = OrderDetails(order_id=["order 1"])
        assert machine.record(order, sender=Sender.SHOPPERS, details=details).accepted == 1
    receipts = market.gather()
    assert [receipt.accepted for receipt in receipts] == [2, 0]
    assert (receipts[1].duplicates, receipts[1].quarantined) == (1, {REPEATED_ORDER: 1})
    assert sorted(market.gathered.slates()["request_id"].to_pylist()) == ["first", "second"]
    market.gather()
    alone = build_engine(market.bundle, log=market.gathered)
    answers = [machine.preview(request("third", 2)).ranking.slate for machine in (*market.machines, alone)]
    for slate in answers[:2]:
        for name in ("item_id", "position"):
            np.testing.assert_array_equal(getattr(slate, name), getattr(answers[2], name))
        for name in ("value", "propensity"):
            np.testing.assert_allclose(getattr(slate, name), getattr(answers[2], name), rtol=1e-5)
        assert slate.numeric.keys() == answers[2].numeric.keys()
        for name, values in answers[2].numeric.items():
            np.testing.assert_allclose(slate.numeric[name], values, rtol=1e-6, err_msg=name)
    counted = one.preview(Request("fourth", start + timedelta(hours=1), "home", "newcomer", candidates=(item,)))
    assert counted.ranking.slate.numeric["pair_orders"].tolist() == [1.0]


def test_items_that_begin_have_the_same_rows_whichever_machine_hears_of_them_first(market):
    like = market.bundle.catalogue.items.slice(0, 1).to_pylist()[0]
    values = {name: like[name] for name in ("merchant_id", "name", "price")}
    names = ["new one", "new two"]
    for machine, order in zip(market.machines, (names, names[::-1]), strict=True):
        for name in order:
            update = CatalogueUpdate(name, values | {"category": f"of {name}"}, 1)
            machine.put_catalogue(Subject.ITEM, [update], time=machine.parts.known_until)
            table = machine.parts.item_table
            passing = ItemFilter(categories=(f"of {name}",)).mask(table.filter_columns)
            assert np.flatnonzero(passing).tolist() == table.rows([name]).tolist()
    one, other = (machine.parts.item_table.rows(names).tolist() for machine in market.machines)
    assert one == other == [len(market.bundle.catalogue.items), len(market.bundle.catalogue.items) + 1]
    codes = [machine.parts.item_table.category[one].tolist() for machine in market.machines]
    assert codes[0] == codes[1]
    assert len(set(codes[0])) == 2


def test_what_feedback_is_judged_by_is_the_same_on_another_machine(tmp_path, redis_url):
    request = Request("judged", datetime(2026, 1, 1, 12, 0, 5, 400_000, UTC), "home", "ann", k=2, session_id="visit")
    one, other = (MachineLog(tmp_path / name, SharedSlates(redis_url)) for name in ("a.sqlite", "b.sqlite"))
    with closing(one), closing(other):
        one.append(fake_slate(request, ["a", "b", "c"]))
        seen = [log.slates_of(["judged"], columns=READ).to_pylist() for log in (one, other)]
    assert seen[0] == seen[1]
    assert seen[0][0]["time"] == request.time


def test_a_machine_goes_on_while_the_shared_redis_is_away(bundle, tmp_path, redis_url, monkeypatch):
    def away(*_, **__):
        raise StoreUnavailable("away")

    with closing(MachineLog(tmp_path / "log.sqlite", SharedSlates(redis_url))) as log:
        engine = build_engine(bundle, log=log)
        monkeypatch.setattr(SharedSlates, "claim", away)
        request = Request("alone", engine.parts.known_until + timedelta(hours=1), "home", "newcomer", k=3)
        engine.rank(request)
        assert SqliteLog.slate(log, "alone").request_id == "alone"


def test_a_machine_among_several_needs_what_they_share(tmp_path, caplog):
    (tmp_path / "bundle").mkdir()
    with pytest.raises(SystemExit):
        create(
            {"VALUE_MODEL_BUNDLE": str(tmp_path), "VALUE_MODEL_LOG": str(tmp_path / "l"), "VALUE_MODEL_GATHERED": "1"}
        )
    assert "set VALUE_MODEL_FEATURES, the Redis that the machines share" in caplog.text
    for words in (
        ["serve", str(tmp_path), "--gathered"],
        ["consume", "--kafka", "k", "--into", "l", "--features", "r"],
    ):
        answer = CliRunner().invoke(cli, words)
        assert (answer.exit_code, "go" in answer.output) == (2, True)
