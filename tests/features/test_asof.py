"""Fast point-in-time statistics against a loop that anybody believes, ties included."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.asof import NEVER, Timeline
from features.history import furthest, last_distinct, next_times

EVENT = st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 4))  # group, time, value or item
QUERY = st.tuples(st.integers(-1, 4), st.integers(-1, 8))
HALF_LIFE = 2.0


def columns(rows, width):
    return np.array(rows, np.int64).reshape(-1, width).T


@pytest.mark.parametrize("few", [1, 10**6])  # queries of a block, and that are worth sorting
@pytest.mark.parametrize(("far", "wide"), [(1, 1), (2**17, 2**59), (2**40, 1)])  # codes and times
@given(st.lists(EVENT, max_size=40), st.lists(QUERY, min_size=1, max_size=10))
@settings(max_examples=20, deadline=None)
def test_statistics_agree_with_the_slow_oracle(few, far, wide, events, queries):
    group, time, value = columns(events, 3)
    groups, now = columns(queries, 2)
    with patch.multiple("features.asof", MANY=few, BLOCK=few):
        line = Timeline(group * far, time * wide)
        known = line.before(groups * far, now * wide)
        latest = line.latest(known, value)
    decayed = line.decayed(known, value, now * wide, half_life=HALF_LIFE * wide)
    sums, halves, last = line.sums(known, value), line.sums(known, value / 2), line.last(known)
    for q in range(len(queries)):
        mine = [(t, v) for g, t, v in events if g == groups[q] and t < now[q]]
        assert known.count[q] == len(mine)
        assert sums[q] == sum(v for _, v in mine)
        assert halves[q] == sum(v / 2 for _, v in mine)
        assert last[q] == max((t * wide for t, _ in mine), default=NEVER)
        assert np.array_equal([latest[q]], [v for _, v in sorted(mine, key=lambda one: one[0])][-1:] or [np.nan], True)
        assert decayed[q] == pytest.approx(sum(v * 2.0 ** -((now[q] - t) / HALF_LIFE) for t, v in mine), rel=1e-12)


@given(st.lists(EVENT, max_size=40), st.lists(QUERY, min_size=1, max_size=10), st.integers(1, 5))
def test_history_is_the_last_distinct_items_and_their_furthest_actions(events, queries, length):
    user, time, item = columns(sorted(events, key=lambda event: event[1]), 3)
    groups, now = columns(queries, 2)
    line = Timeline(user, time)
    pair, kind = user * 10 + item, (7 * user + 3 * time + item) % 3
    of_pair = Timeline(pair, time)
    following, reached = next_times(pair, of_pair), furthest(pair, of_pair, kind)
    histories = last_distinct(line, line.before(groups, now), now, following=following, length=length)
    for q in range(len(queries)):
        touched = [e for e in range(len(user)) if user[e] == groups[q] and time[e] < now[q]]
        distinct = dict.fromkeys(item[e] for e in reversed(touched))  # those that tie arrived in this order
        expected = [max(e for e in touched if item[e] == i) for i in distinct][:length][::-1]
        assert histories[q].tolist() == expected + [-1] * (length - len(expected))
        for e in expected:
            assert reached[e] == max(kind[other] for other in touched if item[other] == item[e])


def test_decay_keeps_its_precision_over_a_thousand_half_lives():
    time = np.arange(0, 1000, 100)
    line = Timeline(np.zeros(len(time), np.int64), time)
    popularity = line.decayed(
        line.before(np.array([0]), np.array([901])), np.ones(len(time)), np.array([901]), half_life=1
    )
    assert popularity[0] == pytest.approx(0.5 * (1 + 2.0**-100), rel=1e-15)
