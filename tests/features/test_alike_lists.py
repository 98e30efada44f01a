"""Earlier lists like this one: what is said of them, worked out by hand and by a loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest
from feature_market import random_market

from features.catalogue import Catalogue
from features.statistics import alike_lists
from features.statistics.alike_lists import AlikeLists
from features.statistics.statistic import NO_INTERACTIONS, EventLog, Impressions, RequestRows

CATALOGUE = Catalogue.of(random_market(np.random.default_rng(0)))
NONE = pa.nulls(1, pa.string())


def shown(lists: Sequence[tuple[int, Sequence[int]]]) -> EventLog:
    """Lists by time, each with its items from the first place on."""
    time = np.array([time for time, _ in lists], np.int64)
    lengths = [len(items) for _, items in lists]
    item = np.array([item for _, items in lists for item in items], np.int32)
    position = np.concatenate([np.arange(1, length + 1) for length in lengths]).astype(np.float64)
    nobody = np.full(len(lists), -1)
    number = np.repeat(np.arange(len(lists)), lengths)
    return EventLog(NO_INTERACTIONS, Impressions(NONE, nobody, NONE, nobody, time, number, item, position))


def requests(lists: Sequence[tuple[int, Sequence[int]]]) -> RequestRows:
    time, count = np.array([time for time, _ in lists]), len(lists)
    request = np.repeat(np.arange(count), [len(items) for _, items in lists])
    texts, item = pa.nulls(count, pa.string()), np.array([item for _, items in lists for item in items], np.int32)
    return RequestRows(time, texts, texts, np.full(count, -1), np.zeros(count, np.int64), request, item)


EARLIER = [(1, [1, 2, 3, 4]), (2, [2, 3, 5]), (3, [7, -1, 8])]


@pytest.mark.parametrize(
    ("time", "items", "positions", "share"),
    [
        (9, [4, 3, 2, 6], [4, 3, 2, np.nan], 3 / 4),
        (9, [3, 2, 5], [2, 1, 3], 1.0),
        (9, [2, 3], [1, 2], 1.0),  # both hold both: the later one
        (2, [2, 3], [2, 3], 1.0),  # what has the time of the request is not known yet
        (9, [8, -1, -1, 8], [3, np.nan, np.nan, 3], 1 / 4),  # one item is shared, twice in the list though it stands
        (9, [9, 10], [np.nan, np.nan], 0.0),
        (1, [1], [np.nan], 0.0),
    ],
)
def test_the_list_that_shares_most(time, items, positions, share):
    columns = AlikeLists(CATALOGUE).as_of(shown(EARLIER), requests([(time, items)]))
    np.testing.assert_array_equal(columns["alike_position"], positions)
    np.testing.assert_array_equal(columns["alike_share"], np.full(len(items), share))


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_all_requests_are_what_a_loop_says_of_each(block, monkeypatch):
    monkeypatch.setattr(alike_lists, "BLOCK", block)
    monkeypatch.setattr(alike_lists, "MOST", 3)
    rng = np.random.default_rng(block)
    lists = [(int(rng.integers(9)), rng.choice(8, rng.integers(1, 6), replace=False).tolist()) for _ in range(40)]
    lists.sort(key=lambda row: row[0])
    columns = AlikeLists(CATALOGUE).as_of(shown(lists), requests(lists))
    expected: list[tuple[float, ...]] = []
    for time, items in lists:
        held = {item: [n for n, (then, others) in enumerate(lists) if then < time and item in others] for item in items}
        latest = [n for earlier in held.values() for n in earlier[-3:]]
        best = max(latest, key=lambda n: (latest.count(n), n), default=None)
        for item in items:
            known = best is not None and best in held[item][-3:]
            position = lists[best][1].index(item) + 1 if best is not None and known else np.nan
            expected.append((position, latest.count(best) / len(items), *weighed(item, items, held, lists)))
    for name, values in zip(alike_lists.COLUMNS, np.array(expected).T, strict=True):
        np.testing.assert_allclose(columns[name], values, err_msg=name)


def weighed(
    item: int, items: Sequence[int], held: Mapping[int, Sequence[int]], lists: Sequence[tuple[int, Sequence[int]]]
) -> tuple[float, float, float]:
    """`alike_weight`, `alike_discount`, `alike_above` of one item, whose latest three lists count."""
    rows = []
    for n in held[item][-3:]:
        others = lists[n][1]
        places = sorted(others.index(other) for other in items if n in held[other][-3:])
        place, share = others.index(item), len(places) / len(items)
        rows.append((share**2, 1 / np.log2(2 + place), places.index(place) / len(places), len(places) > 1))
    several = [row for row in rows if row[3]]
    total, of_several = sum(row[0] for row in rows), sum(row[0] for row in several)
    discount = sum(row[0] * row[1] for row in rows) / total if rows else np.nan
    return total, discount, sum(row[0] * row[2] for row in several) / of_several if several else np.nan
