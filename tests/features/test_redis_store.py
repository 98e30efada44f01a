"""The store in Redis gives what the store in memory and the batch form give, whoever wrote it and whoever died."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count

import numpy as np
import pyarrow as pa
import pytest
import redis
from feature_market import DAY, START, random_market
from test_store import SPEC

from features.backends.redis_client import FEW, RedisClient
from features.backends.redis_store import RedisStore
from features.backfill import known_before
from features.catalogue import Catalogue
from features.statistics import pair_memory
from features.store import MemoryStore, StoreUnavailable, before
from marketplace.dataset import with_room
from marketplace.slate import table_to_slates
from marketplace.splits import microseconds

VERSIONS = count()
LATER = timedelta(days=30)


@pytest.fixture
def opened(redis_url, tmp_path):
    """Opens stores over one name of its own, seeded with what is known of a market before a time."""
    version = f"test{next(VERSIONS)}"

    def open_store(market, until):
        seed = tmp_path / "store.npz"
        if not seed.exists():
            MemoryStore.of(market, spec=SPEC, until=until).save(seed)
        roomy = Catalogue.of(replace(market, items=with_room(market.items, 4, currency="AED")))
        return RedisStore(redis_url, MemoryStore(SPEC, roomy, market.users), version=version, seed=seed)

    return open_store


def looked_up(store, slate):
    """The columns of statistics, in the two calls of a request."""
    rows = store.catalogue.rows(pa.array(slate.item_id, pa.string()))
    user = store.lookup(slate, rows[:0])
    return store.lookup(slate, rows, price=slate.price, snapshot=user).state.statistics


def assert_alike(ours, theirs):
    assert set(ours) == set(theirs)
    for name, values in theirs.items():
        if np.issubdtype(values.dtype, np.integer) or np.array_equal(values, np.round(values), equal_nan=True):
            np.testing.assert_array_equal(ours[name], values, err_msg=name)
        else:
            np.testing.assert_allclose(ours[name], values, rtol=1e-9, err_msg=name)


def without_ties(market):
    """Events that come in another order than that of their times are told apart by these."""
    times = microseconds(market.feedback["time"]) + np.arange(len(market.feedback))
    place, field = market.feedback.column_names.index("time"), market.feedback.schema.field("time")
    return replace(market, feedback=market.feedback.set_column(place, field, pa.array(times).cast(field.type)))


def of_batch(market, row):
    return known_before(market, market.slates.slice(row, 1), spec=SPEC).state.statistics


@pytest.mark.parametrize(("seed", "items_of_a_visit"), [(0, 3), (1, 50), (2, 50)])
def test_redis_memory_and_batch_form_agree_on_late_and_repeated_events_of_two_writers(
    seed, items_of_a_visit, opened, monkeypatch
):
    """Every request of a market, some events of which arrive days late and all of which are delivered twice."""
    monkeypatch.setattr(pair_memory, "MOST", items_of_a_visit)
    rng = np.random.default_rng(seed)
    market = without_ties(random_market(rng, requests=10, events=80))
    start = market.slates["time"][3].as_py()
    stores, memory = [opened(market, start) for _ in range(2)], MemoryStore.of(market, spec=SPEC, until=start)
    known, shown = len(before(market.feedback, start)), len(before(market.slates, start))
    for row, slate in list(enumerate(table_to_slates(market.slates)))[3:]:
        events = before(market.feedback, slate.time).slice(known)
        events = events.take(pa.array(rng.permutation(len(events))))
        slates = before(market.slates, slate.time).slice(shown)
        for part in (events.slice(0, len(events) // 2), events.slice(len(events) // 2)):
            after, upto = stores[0].position(), f"{row} {len(part)} {rng.integers(2**40)}"
            memory.update(part)
            assert stores[row % 2].learn(part, None, after=after, upto=upto)
            assert not stores[1 - row % 2].learn(part, None, after=after, upto=upto)
            assert stores[0].position() == stores[1].position() == upto
        memory.show(slates)
        stores[(row + 1) % 2].show(slates)
        known, shown = known + len(events), shown + len(slates)
        expected = of_batch(market, row)
        for store in (memory, *stores):
            assert_alike(looked_up(store, slate), expected)


def test_a_writer_that_dies_within_its_work_has_changed_nothing(opened, monkeypatch):
    market = random_market(np.random.default_rng(5))
    start = market.slates["time"][0].as_py()
    dying, next_one = opened(market, start), opened(market, start)
    slate = replace(table_to_slates(market.slates)[-1], time=market.slates["time"][-1].as_py() + LATER)
    earlier = looked_up(next_one, slate)

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("features.backends.redis_client.RedisClient.write", killed)
    with pytest.raises(KeyboardInterrupt):
        dying.learn(market.feedback, market.slates, after="", upto="all")
    monkeypatch.undo()
    assert next_one.position() == ""
    assert_alike(looked_up(next_one, slate), earlier)
    assert next_one.learn(market.feedback, market.slates, after="", upto="all")
    assert_alike(looked_up(opened(market, start), slate), looked_up(MemoryStore.of(market, spec=SPEC), slate))


def test_of_two_writers_at_once_one_has_changed_nothing(redis_url):
    client, name = RedisClient(redis_url, prefix="at once:"), "at once:guard"
    pairs = np.array([[1, 2, 3], [1, 4, 5]])

    def entries(mark):
        """The second of them, written while the first has not come to its end."""
        if mark:
            assert client.write(
                entries(b""), [(7, b"second")], [("at once:pair:", pairs)], guard=name, now=b"", then=b"2"
            )
        yield from ((f"at once:{key}", b"first" if mark else b"second", None) for key in range(2 * FEW))

    assert client.write(entries(b"1"), [(7, b"first")], [("at once:pair:", pairs)], guard=name, now=b"", then=b"1") == 0
    assert client.write([], guard=name, now=b"", then=b"1") == 0
    assert client.get(name) == b"2"
    for size in (2, 2 * FEW):  # by a script, and round it
        reading = client.read([f"at once:{key}" for key in range(size)], after=0)
        assert (reading.number, reading.values, reading.records) == (1, [b"second"] * size, [b"second"])
        assert reading.rows.tolist() == [7]
    assert client.counts(["at once:pair:1", "at once:pair:4"], [1, 2, 4]) == [[0, 3, 5], [5, 0, 0]]


def test_what_redis_lost_is_refused_and_seeded_anew(opened, redis_url):
    market = random_market(np.random.default_rng(6))
    store, slate = opened(market, None), table_to_slates(market.slates)[-1]
    store.position()
    expected = looked_up(store, slate)
    store._redis._redis.flushdb()
    with pytest.raises(StoreUnavailable, match="holds no features any more"):
        looked_up(store, slate)
    assert store.position() == ""
    assert_alike(looked_up(store, slate), expected)


def test_a_redis_that_is_not_there_says_so():
    market = random_market(np.random.default_rng(7))
    local = MemoryStore(SPEC, Catalogue.of(market), market.users)
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1/0 cannot be read"):
        RedisStore("redis://127.0.0.1:1/0", local, version="v", seed=None)


def test_a_redis_that_forgets_keys_as_it_likes_is_refused(redis_url):
    client = redis.Redis.from_url(redis_url)
    client.config_set("maxmemory", "100mb")
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ValueError, match=r"evicts keys when 104857600 bytes .* noeviction"):
            RedisClient(redis_url)
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    RedisClient(redis_url)


def test_recent_rows_end_with_their_span_and_what_never_ends_does_not(opened):
    market = random_market(np.random.default_rng(8))
    store = opened(market, market.slates["time"][0].as_py())
    store.update(market.feedback)
    store.show(market.slates)
    client = store._redis._redis
    names = {key.decode().removeprefix(store._prefix): client.pttl(key) for key in client.keys(f"{store._prefix}*")}
    ends = {name.rpartition(":")[0] or name: left / 86_400_000 for name, left in names.items()}
    assert ends["user:30d"] == pytest.approx(30, abs=0.01)
    assert ends["visit:1d"] == pytest.approx(1, abs=0.01)
    for kept in ("user:kept", "visit:kept", "market:kept", "items", "changed", "position"):
        assert ends[kept] < 0
    assert microseconds(market.slates["time"]).max() >= START + DAY
