"""What a candidate has to do with the page's item, counted by hand."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from feature_market import DAY, START, random_market
from hypothesis import given, settings
from hypothesis import strategies as st

from features.backfill import backfill
from features.catalogue import Catalogue
from features.definitions import standard_spec
from features.interactions import KINDS, Interactions
from features.statistics import pair_memory
from features.statistics.page_items import PageItems
from features.statistics.statistic import NO_IMPRESSIONS, EventLog, RequestRows, Visitor

ROWS = np.array([0, 1, 2, 3, 6, -1], np.int32)


def log_of(touches):
    """Of (visit, item, kind, hour)."""
    visits, items, kinds, hours = zip(*touches, strict=True)
    names = pa.array(visits, pa.string()).dictionary_encode()
    n = len(touches)
    kind = np.array([KINDS.index(name) for name in kinds])
    time = START + np.array(hours) * DAY // 24
    columns = {"item": np.array(items, np.int32), "time": time, "kind": kind, "answers": np.zeros(n, bool)}
    return EventLog(
        Interactions(names, names, names, weight=np.ones(n, np.float32), until=int(time.max()) + 1, **columns),
        NO_IMPRESSIONS,
    )


def at(hour, *, page):
    now = np.array([START + hour * DAY // 24])
    texts = pa.array(["u"]), pa.array([None], pa.string())
    return RequestRows(
        now, *texts, np.array([page], np.int32), np.zeros(1, np.int64), np.zeros(len(ROWS), np.int64), ROWS
    )


VISITS = log_of(
    [
        ("a", 0, "click", 1),
        ("a", 1, "click", 2),
        ("a", 0, "order", 3),
        ("a", 1, "order", 5),
        ("b", 1, "click", 1),
        ("b", 0, "click", 6),
        ("b", 0, "click", 7),
        ("c", 2, "order", 1),
        ("c", 1, "click", 9),
    ]
)


def test_a_visit_counts_a_pair_once_from_its_later_first_touch_on():
    """Items 0 and 1 are together in visit a from hour 2, in b from hour 6; ordered together in a from hour 5."""
    statistic = PageItems(Catalogue.of(random_market(np.random.default_rng(0))))
    for hour, together, ordered in ((2, 0, 0), (3, 1, 0), (6, 1, 1), (7, 2, 1), (20, 2, 1)):
        columns = statistic.as_of(VISITS, at(hour, page=1))
        assert columns["page_covisits"][0] == together
        assert columns["page_coorders"][0] == ordered
    assert columns["page_covisits"][2] == 1
    assert np.isnan(columns["page_covisits"][5])


def test_a_product_page_has_the_category_of_its_item():
    market = random_market(np.random.default_rng(0))
    frame = backfill(market, market.slates, spec=standard_spec(product_pages=True))
    category = dict(zip(market.items["item_id"].to_pylist(), market.items["category"].to_pylist(), strict=True))
    pages = market.slates["page_item_id"].to_pylist()
    assert frame.columns["page_category"].to_pylist() == [category.get(page) for page in pages]
    assert set(map(category.get, pages)) == {None, *category.values()}


def test_likeness_is_read_off_the_catalogue_and_unknown_on_other_pages():
    """Item i is of category i % 3 and merchant i % 4, costs 10 + i, and is named Blue Dress i."""
    statistic = PageItems(Catalogue.of(random_market(np.random.default_rng(0))))
    statistic.update(VISITS)
    columns = statistic.of_rows(Visitor("u", None, START, 3), ROWS)
    assert columns["page_same_category"][:5].tolist() == [1, 0, 0, 1, 1]
    assert columns["page_same_merchant"][:5].tolist() == [0, 0, 0, 1, 0]
    assert columns["page_price"][:5].tolist() == [13] * 5
    assert columns["page_words"][3] == np.float32(1)
    assert columns["page_words"][0] == 0  # without a name
    assert all(np.isnan(values).all() for values in statistic.of_rows(Visitor("u", None, START), ROWS).values())
    assert set(columns) == set(statistic.of_rows(Visitor("u", None, START), ROWS))


def counted_by_hand(touches, most):
    """Visits by pair of items, of the first `most` of each visit by time; touches are (visit, item, kind, hour)."""
    pairs = Counter()
    for visit in {touch[0] for touch in touches}:
        first = {}
        for _, item, _, hour in sorted(touch for touch in touches if touch[0] == visit):
            first[item] = min(first.get(item, hour), hour)
        kept = sorted(first, key=lambda item: (first[item], item))[:most]
        pairs.update(frozenset(pair) for pair in combinations(kept, 2))
    return pairs


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), events=st.integers(1, 40), most=st.integers(2, 4))
def test_visits_by_pair_do_not_depend_on_the_order_in_which_events_come(seed, events, most):
    """Late, at equal times and repeated, in batches of any size, saved and restored between."""
    rng = random.Random(seed)
    touches = [(rng.choice("abc"), rng.randrange(8), rng.choice(KINDS), rng.randrange(10)) for _ in range(events)]
    catalogue = Catalogue.of(random_market(np.random.default_rng(0)))
    came, rows = touches + rng.choices(touches, k=events // 2), np.arange(8, dtype=np.int32)
    rng.shuffle(came)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_memory, "MOST", most)
        expected, memory = counted_by_hand(touches, most), PageItems(catalogue)
        while came:
            size = rng.randint(1, len(came))
            memory.update(log_of(came[:size]))
            came = came[size:]
            saved, memory = memory.saved(), PageItems(catalogue)
            memory.restore(saved)
        for page in rows.tolist():
            wanted = [expected[frozenset((page, item))] for item in rows.tolist()]
            now = replace(at(24, page=page), request=np.zeros(8, np.int64), item=rows)
            online = memory.of_rows(Visitor("u", None, START + DAY, page), rows)
            assert online["page_covisits"].tolist() == wanted
            assert memory.as_of(log_of(touches), now)["page_covisits"].tolist() == wanted


def test_a_store_that_was_saved_without_times_goes_on_in_the_order_that_it_kept(monkeypatch):
    """Items 0 and 1 were the first of visit a, and it counts two: what comes late now puts neither out."""
    monkeypatch.setattr(pair_memory, "MOST", 2)
    memory, again = (PageItems(Catalogue.of(random_market(np.random.default_rng(0)))) for _ in range(2))
    memory.update(VISITS)
    again.restore({name: values for name, values in memory.saved().items() if not name.endswith(".times")})
    for one, counts in ((memory, [1, 0, 1, 0]), (again, [2, 0, 1, 0])):
        one.update(log_of([("a", 1, "click", 3), ("a", 3, "click", 1.5)]))
        online = one.of_rows(Visitor("u", None, START + DAY, 1), ROWS[:4])["page_covisits"]
        assert online.tolist() == counts
    assert memory.of_rows(Visitor("u", None, START + DAY, 0), ROWS[:4])["page_covisits"].tolist() == [0, 1, 0, 1]


def test_a_long_visit_counts_its_first_items_alone(monkeypatch):
    monkeypatch.setattr(pair_memory, "MOST", 3)
    log = log_of([("a", item, "click", item + 1) for item in range(6)])
    memory = PageItems(Catalogue.of(random_market(np.random.default_rng(0))))
    for event in range(6):
        memory.update(EventLog(log.interactions.select(np.array([event])), NO_IMPRESSIONS))
    online = memory.of_rows(Visitor("u", None, START + DAY, 0), ROWS)["page_covisits"]
    np.testing.assert_array_equal(online, memory.as_of(log, at(24, page=0))["page_covisits"])
    assert online[:4].tolist() == [0, 1, 1, 0]
