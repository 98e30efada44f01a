"""New arrivals: their age at the query's time, and the runs that have them."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from marketplace.dataset import Dataset
from marketplace.first_seen import begun, with_first_seen
from marketplace.schema import FEEDBACK, ITEMS, MERCHANTS, SLATE, TIME, USERS, conform, empty
from marketplace.splits import DAY_US
from retrieval.candidates import Query
from retrieval.sources.new_arrivals import NewArrivals

ALWAYS = np.iinfo(np.int64).min
LAUNCHED = np.array([ALWAYS, 100 * DAY_US, 98 * DAY_US, 71 * DAY_US, 70 * DAY_US, 101 * DAY_US])
ON_DAY_100 = Query("u", "s", np.empty(0, np.int32), time=100 * DAY_US)


def test_the_last_30_days_launches_newest_first():
    items, scores = NewArrivals(LAUNCHED).propose(ON_DAY_100, k=10)
    assert items.tolist() == [1, 2, 3]  # not what always was, what is 30 days old, or what is launched tomorrow
    np.testing.assert_allclose(scores, -np.log([1, 3, 30]), rtol=1e-6)


def test_what_is_not_new_scores_as_if_30_days_old():
    np.testing.assert_allclose(NewArrivals(LAUNCHED).score(ON_DAY_100, np.array([0, 4, 5])), -np.log(31))


def test_an_arrival_is_new_for_30_days_from_its_launch():
    tomorrow = replace(ON_DAY_100, time=101 * DAY_US)
    assert NewArrivals(LAUNCHED).propose(tomorrow, k=10)[0].tolist() == [5, 1, 2]


def sold(*orders):
    """A market of four items without launches: (item, day of its order)."""
    names = ["a", "b", "c", "never"]
    items = {"item_id": names, "merchant_id": ["m"] * 4, "category": ["tea"] * 4, "price": [1.0] * 4}
    items |= {"currency": ["SAR"] * 4, "in_stock": [True] * 4}
    events = {"feedback_id": [str(place) for place in range(len(orders))], "event": ["order"] * len(orders)}
    events |= {"user_id": ["u"] * len(orders), "item_id": [item for item, _ in orders]}
    events |= {"time": pa.array([day * DAY_US for _, day in orders], pa.timestamp("us")).cast(TIME)}
    tables = (conform(pa.table(items), ITEMS, where="items"), empty(MERCHANTS), empty(USERS), empty(SLATE))
    return Dataset("sold", "SAR", *tables, conform(pa.table(events), FEEDBACK, where="orders"))


def test_without_launches_an_item_begins_when_it_is_first_seen_if_not_in_the_first_30_days():
    seen = with_first_seen(sold(("a", 100), ("b", 129), ("b", 140), ("c", 150), ("c", 130), ("gone", 90)))
    assert begun(seen.items).tolist() == [ALWAYS, 129 * DAY_US, 130 * DAY_US, ALWAYS]
    assert begun(with_first_seen(sold(("a", 100), ("b", 129))).items).tolist() == [ALWAYS] * 4
    assert with_first_seen(seen) is seen
    day_100 = pa.array([100 * DAY_US, None, None, None], pa.int64()).cast(TIME)
    launched = seen.items.set_column(7, "available_from", day_100)
    assert begun(with_first_seen(replace(seen, items=launched)).items).tolist()[0] == 100 * DAY_US
