"""Laws of every statistic: batch equals online, the order of rows does not matter, what is saved comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from feature_market import DAY, PEOPLE, START, random_market
from hypothesis import given, settings
from hypothesis import strategies as st

from features.asof import NEVER
from features.catalogue import Catalogue
from features.segments import UserSegments
from features.state import days
from features.statistics import STATISTICS
from features.statistics.distinct_shoppers import REGISTERS, DistinctShoppers
from features.statistics.keyed_memory import ItemRows, NamedRows, PairCounts, memory_size
from features.statistics.popularity import DecayedPopularity
from features.statistics.statistic import EventLog, RequestRows, Visitor
from marketplace.dataset import with_room
from marketplace.splits import microseconds

EVERY = pytest.mark.parametrize("statistic", STATISTICS, ids=lambda statistic: statistic.name)
NOW = START + 10 * DAY
SEGMENTS = UserSegments(random_market(np.random.default_rng(0)).users)
ROWS = np.array([0, 3, -1, 11, 3, 5], np.int32)  # -1 = not in the catalogue


def log_of(market, *, feedback=None, slates=None):
    return EventLog.of(Catalogue.of(market), feedback=feedback, slates=slates, segments=SEGMENTS)


def whole(market):
    return log_of(market, feedback=market.feedback, slates=market.slates)


def one_request(user, *, rows=ROWS, now=NOW, page=3):
    """A past request of `user` for the batch form, and the same for the online form."""
    session = None if user == "u0" else f"visit of {user}"
    texts = pa.array([user], pa.string()), pa.array([session], pa.string())
    return (
        RequestRows(
            np.array([now]),
            *texts,
            np.array([page], np.int32),
            np.array([SEGMENTS[user]]),
            np.zeros(len(rows), np.int64),
            rows,
        ),
        Visitor(user, session, now, page, SEGMENTS[user]),
        rows,
    )


def online(memory, visitor, rows):
    return memory.of_user(visitor) | memory.of_rows(visitor, rows)


def assert_alike(ours, theirs):
    assert set(ours) == set(theirs)
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-9, err_msg=name)


def with_times(table, rng):
    """Every row at a time of its own, within six days."""
    times = START + rng.permutation(len(table)) * (6 * DAY // max(len(table), 1))
    place = table.column_names.index("time")
    return table.set_column(place, table.schema.field("time"), pa.array(times).cast(table.schema.field("time").type))


def shuffled(table, rng):
    return table.take(pa.array(rng.permutation(len(table))))


def fed(statistic, market, feedback, slates):
    """A memory that was told one event and one slate at a time."""
    memory = statistic(Catalogue.of(market))
    for row in range(len(feedback)):
        memory.update(log_of(market, feedback=feedback.slice(row, 1)))
    for row in range(len(slates)):
        memory.update(log_of(market, slates=slates.slice(row, 1)))
    return memory


@EVERY
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), user=st.integers(0, PEOPLE), day=st.integers(0, 7))
def test_batch_equals_one_by_one(statistic, seed, user, day):
    market = random_market(np.random.default_rng(seed), requests=5, events=30)
    request, visitor, rows = one_request(f"u{user}", now=START + day * DAY)
    earlier = [table.filter(microseconds(table["time"]) < visitor.time) for table in (market.feedback, market.slates)]
    batch = statistic(Catalogue.of(market)).as_of(whole(market), request)
    assert_alike(online(fed(statistic, market, *earlier), visitor, rows), batch)


@EVERY
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_does_not_matter(statistic, seed):
    rng = np.random.default_rng(seed)
    market = random_market(rng)
    feedback, slates = with_times(market.feedback, rng), with_times(market.slates, rng)
    request, visitor, rows = one_request("u1")
    expected = statistic(Catalogue.of(market)).as_of(log_of(market, feedback=feedback, slates=slates), request)
    feedback, slates = shuffled(feedback, rng), shuffled(slates, rng)
    mixed = statistic(Catalogue.of(market)).as_of(log_of(market, feedback=feedback, slates=slates), request)
    assert_alike(mixed, expected)
    assert_alike(online(fed(statistic, market, feedback, slates), visitor, rows), expected)


@EVERY
def test_a_repeated_delivery_counts_alike_in_both_forms(statistic, market):
    request, visitor, rows = one_request("u2")
    feedback = pa.concat_tables([market.feedback, market.feedback.slice(0, 5)])
    batch = statistic(Catalogue.of(market)).as_of(log_of(market, feedback=feedback, slates=market.slates), request)
    assert_alike(online(fed(statistic, market, feedback, market.slates), visitor, rows), batch)


@EVERY
def test_saved_and_restored_gives_the_same_bits_and_goes_on_alike(statistic, market, tmp_path):
    memory, again = statistic(Catalogue.of(market)), statistic(Catalogue.of(market))
    memory.update(whole(market))
    np.savez(tmp_path / "memory.npz", **memory.saved())
    with np.load(tmp_path / "memory.npz", allow_pickle=False) as saved:
        again.restore(dict(saved))
    for more in (market.feedback.slice(0, 0), market.feedback.slice(0, 7)):
        for one in (memory, again):
            one.update(log_of(market, feedback=more))
        for user in range(PEOPLE + 1):
            _, visitor, rows = one_request(f"u{user}", now=START + 6 * DAY)
            ours, theirs = online(again, visitor, rows), online(memory, visitor, rows)
            for name, values in theirs.items():
                np.testing.assert_array_equal(ours[name], values, err_msg=name)


@EVERY
def test_room_for_new_items_changes_nothing_of_what_was_saved_without_it(statistic, market, tmp_path):
    """A bundle is saved over its items alone, and served with vacant rows behind them."""
    roomy = replace(market, items=with_room(market.items, 7, currency="AED"))
    memory, served = statistic(Catalogue.of(market)), statistic(Catalogue.of(roomy))
    memory.update(whole(market))
    served.restore(memory.saved())
    again = statistic(Catalogue.of(replace(market, items=with_room(market.items, 20, currency="AED"))))
    again.restore(served.saved())
    for user in range(PEOPLE):
        request, visitor, rows = one_request(f"u{user}")
        batch = statistic(Catalogue.of(market)).as_of(whole(market), request)
        assert_alike(online(served, visitor, rows), batch)
        assert_alike(online(again, visitor, rows), batch)


@EVERY
def test_a_memory_that_is_taken_by_key_and_put_elsewhere_answers_alike(statistic, market):
    """Every key of it, into a memory that knew something else."""
    memory, other = statistic(Catalogue.of(market)), statistic(Catalogue.of(market))
    memory.update(whole(market))
    other.update(log_of(market, feedback=market.feedback.slice(3, 9), slates=market.slates.slice(0, 2)))
    for name, theirs in memory.memories.items():
        ours = other.memories[name]
        match theirs:
            case NamedRows():
                keys = theirs.names()
                ours.put(keys, theirs.take(keys))
            case ItemRows():
                for column, values in theirs.arrays.items():
                    ours.arrays[column][:] = values
            case PairCounts():
                ours.put(*theirs.take())
        ours, theirs = (memory_size(one.memories[name], statistic=statistic.name, name=name) for one in (other, memory))
        assert ours.bytes == theirs.bytes
    for user in range(PEOPLE + 1):
        _, visitor, rows = one_request(f"u{user}")
        assert_alike(online(other, visitor, rows), online(memory, visitor, rows))


@EVERY
@pytest.mark.parametrize("events", [0, 1])
def test_empty_and_single_inputs(statistic, events):
    market = random_market(np.random.default_rng(1), requests=1, events=events)
    feedback, slates = market.feedback, market.slates.slice(0, events)
    request, visitor, rows = one_request("u3")
    batch = statistic(Catalogue.of(market)).as_of(log_of(market, feedback=feedback, slates=slates), request)
    assert_alike(online(fed(statistic, market, feedback, slates), visitor, rows), batch)
    none, _, no_rows = one_request("u3", rows=np.zeros(0, np.int32))
    assert_alike(
        online(fed(statistic, market, feedback, slates), visitor, no_rows),
        statistic(Catalogue.of(market)).as_of(log_of(market, feedback=feedback, slates=slates), none),
    )


@EVERY
def test_definitions_read_the_statistic_under_names_of_their_own(statistic):
    names = [row.feature.name for row in statistic.definitions]
    assert len(set(names)) == len(names)
    assert all(row.feature.meaning for row in statistic.definitions)


def test_a_request_of_an_earlier_time_sees_no_more_popularity_than_there_was():
    market = random_market(np.random.default_rng(5))
    memory = DecayedPopularity(Catalogue.of(market))
    memory.update(whole(market))
    latest = int(microseconds(market.feedback["time"]).max())
    now, before, long_ago = (
        memory.of_rows(Visitor("u0", None, time), ROWS)["popularity"] for time in (latest, latest - DAY, 0)
    )
    assert np.isfinite(now).all()
    assert np.isfinite(before).all()
    assert np.isfinite(long_ago).all()
    assert (long_ago <= memory.saved()["value"].max()).all()


def test_days_since_what_lies_later_are_none():
    assert days(np.array([DAY, 3 * DAY, NEVER]), np.int64(2 * DAY)).tolist()[:2] == [1.0, 0.0]


def test_distinct_shoppers_are_estimated_within_the_error_that_is_promised_and_repeats_do_not_count():
    market = random_market(np.random.default_rng(6))
    rng, few = np.random.default_rng(7), market.feedback.slice(0, 1)
    errors = []
    for shoppers in (3, 40, 300, 5_000):
        names = [f"shopper {number} of {rng.integers(2**40)}" for number in range(shoppers)]
        place = few.column_names.index("user_id")
        events = few.take(pa.array(np.zeros(3 * shoppers, int)))
        users = pa.array(names * 3).cast(few.schema.field("user_id").type)
        events = events.set_column(place, few.schema.field("user_id"), users)
        memory = DistinctShoppers(Catalogue.of(market))
        memory.update(log_of(market, feedback=events))
        row = Catalogue.of(market).rows(few["item_id"])
        errors.append(memory.of_rows(Visitor("u0", None, NOW), row)["item_shoppers"][0] / shoppers - 1)
    assert np.abs(errors[0]) < 0.03
    assert np.abs(errors).max() < 3 * 1.04 / np.sqrt(REGISTERS)
