"""The market of the live demo: what its old system hands over, and what then changes, is the simulated truth."""

from datetime import timedelta

import numpy as np
import pytest

from jobs.live_market import FIRST, catalogue_updates, live_market, write_exports
from marketplace.datasets.own import read_own
from marketplace.simulator.market import on_sale, price_on
from marketplace.slate_columns import item_offsets


@pytest.fixture(scope="module")
def simulation():
    return live_market(3)


def test_a_shop_hands_over_its_first_days_and_nothing_of_what_comes(simulation, tmp_path):
    shop = read_own(write_exports(simulation, tmp_path / "shop"))
    end, market = simulation.config.start + timedelta(days=FIRST), simulation.market
    assert len(shop.slates) == len(simulation.dataset.slates)
    assert item_offsets(shop.slates)[-1] == item_offsets(simulation.dataset.slates)[-1]
    assert max(shop.feedback["time"].to_pylist()) < end
    assert 0 < len(shop.feedback) < len(simulation.dataset.feedback)
    launched = market.items.available <= FIRST
    assert shop.items["item_id"].to_pylist() == simulation.dataset.items["item_id"].filter(launched).to_pylist()
    rows, day = np.flatnonzero(launched), np.array(float(FIRST))
    np.testing.assert_array_equal(shop.items["price"], price_on(market, rows, day))
    np.testing.assert_array_equal(shop.items["in_stock"], on_sale(market, rows, day))


def test_its_updates_bring_the_catalogue_to_the_truth_of_every_day(simulation):
    market, rows = simulation.market, np.arange(simulation.config.items)
    state = price_on(market, rows, np.array(float(FIRST))), on_sale(market, rows, np.array(float(FIRST)))
    known = dict(enumerate(zip(*(column.tolist() for column in state), strict=True)))
    updates, versions = list(catalogue_updates(simulation)), dict[str, int]()
    day = FIRST + 6.3
    for when, item in updates:
        assert item["version"] >= versions.get(item["item_id"], 0)
        versions[item["item_id"]] = item["version"]
        if when < day:
            known[int(item["item_id"][1:])] = item["price"], item["in_stock"]
    rows = np.flatnonzero(market.items.available <= day)
    truth = zip(price_on(market, rows, day).tolist(), on_sale(market, rows, np.array(day)).tolist(), strict=True)
    assert [known[row] for row in rows.tolist()] == list(truth)
    assert len(updates) > 300
