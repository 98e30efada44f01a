"""New arrivals: their age at the query's time, and the runs that have them."""

from dataclasses import replace

import numpy as np

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
