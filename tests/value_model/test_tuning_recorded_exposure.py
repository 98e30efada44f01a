"""Exposure read off a recorded log equals that of all orders counted out."""

from itertools import permutations

import numpy as np
import pyarrow as pa
import pytest

from marketplace.schema import SHADOW_PRICE
from value_model.tuning.recorded_exposure import recorded_exposure

ODDS = np.array([0.3, -0.4, 1.2, 0.0, 0.7])
LOOKS = np.array([1.0, 0.5, 0.2])


def slates(values, positions, propensities, *, prices=()):
    def lists(rows, kind):
        return pa.array(rows, pa.list_(kind))

    ids = lists([[f"i{j}" for j in range(len(row))] for row in values], pa.string())
    columns = {"item_id": ids, "value": lists(values, pa.float64()), "position": lists(positions, pa.int32())}
    numeric = [[(SHADOW_PRICE, prices)] if len(prices) else []] * len(values)
    columns["numeric"] = pa.array(numeric, pa.map_(pa.string(), pa.list_(pa.float32())))
    return pa.table(columns | {"propensity": lists(propensities, pa.float64())})


def drawn(odds, order):
    """Propensities of the items in `order`, among all of `odds`."""
    left = list(range(len(odds)))
    propensities = []
    for item in order:
        propensities.append(np.exp(odds[item]) / np.exp(odds[left]).sum())
        left.remove(item)
    return np.array(propensities)


def by_counting(odds, shown):
    """Exposure of each item of `shown`, given that these were shown: all their orders, by their probability."""
    chance = {order: drawn(odds, order).prod() for order in permutations(shown)}
    total = sum(chance.values())
    exposure = dict.fromkeys(shown, 0.0)
    for order, p in chance.items():
        for place, item in enumerate(order):
            exposure[item] += p / total * LOOKS[place]
    return np.array([exposure[item] for item in shown])


@pytest.mark.parametrize("shown", [(2, 0, 4), (1, 3, 0), (4, 2, 1)])
def test_exposure_of_what_is_on_record_equals_all_orders_counted_out(shown):
    """A second page, whose places go on at 8, is drawn like a first."""
    table = slates([ODDS[list(shown)]] * 400, [[1, 2, 3], [8, 9, 10]] * 200, [drawn(ODDS, shown)] * 400)
    mask = np.ones((400, 3), bool)
    exposure = recorded_exposure(table, mask, np.tile(LOOKS, (400, 1)), rng=np.random.default_rng(0))
    assert exposure.mean(axis=0) == pytest.approx(by_counting(ODDS, shown), rel=0.02)
    assert exposure.sum(axis=1) == pytest.approx(LOOKS.sum())


@pytest.mark.parametrize("shown", [(2, 0, 4), (3, 1, 4)])
def test_without_values_on_record_all_items_were_alike(shown):
    alike = np.zeros(5)
    table = slates([[None] * 3] * 400, [[1, 2, 3]] * 400, [drawn(alike, shown)] * 400)
    mask, looks = np.ones((400, 3), bool), np.tile(LOOKS, (400, 1))
    exposure = recorded_exposure(table, mask, looks, rng=np.random.default_rng(0))
    assert exposure.mean(axis=0) == pytest.approx(by_counting(alike, shown), rel=0.02)
    some = slates([[0.3, None, 0.1]] * 400, [[1, 2, 3]] * 400, [drawn(alike, shown)] * 400)
    assert recorded_exposure(some, mask, looks, rng=np.random.default_rng(0)) is None


def test_a_log_is_carried_over_to_another_ranking_by_weights_that_average_1():
    """Five items of odds far apart, drawn before many others; noise of the exposure would make the weights larger."""
    odds, rng = np.append([2.0, -2.0, 1.0, 0.0, -3.0], np.full(20, 0.5)), np.random.default_rng(0)
    orders = list(permutations(range(5)))
    chance = np.array([drawn(odds, order).prod() for order in orders])
    rows = [orders[draw] for draw in rng.choice(len(orders), 3000, p=chance / chance.sum())]
    position = np.argsort(rows, axis=1) + 1
    propensity = np.take_along_axis(np.array([drawn(odds, order) for order in rows]), position - 1, axis=1)
    table, examination = (
        slates([odds[:5]] * 3000, position.tolist(), propensity.tolist()),
        np.tile([1.0, 0.5, 0.2, 0.1, 0.05], (3000, 1)),
    )
    exposure = recorded_exposure(table, np.ones((3000, 5), bool), examination, rng=rng)
    looked, other = np.take_along_axis(examination, position - 1, axis=1), np.array([1.0, 0.05, 0.5, 0.2, 0.1])
    weight = (looked * other / exposure).sum(axis=1) / other.sum()
    assert weight.mean() == pytest.approx(1, abs=3 * weight.std() / 3000**0.5)


@pytest.mark.parametrize("ahead", [0.0, 500.0])
def test_a_whole_slate_on_record_is_plain_plackett_luce(ahead):
    """To the rounding of what was logged, which beside an item far ahead is more than all odds of the others."""
    order, odds = (2, 0, 4), ODDS + ahead * (np.arange(5) == 2)
    position, propensity = np.zeros(5, int), np.full(5, np.nan)
    place = np.array([1, 2, 3]) + 7
    position[list(order)], propensity[list(order)] = place, drawn(odds, order) * (1 - 1e-5)
    table = slates([odds] * 200, [position] * 200, [propensity] * 200)
    exposure = recorded_exposure(table, np.ones((200, 5), bool), np.tile(LOOKS, (200, 1)), rng=np.random.default_rng(0))
    chance = {o: drawn(odds, o).prod() for o in permutations(range(5), 3)}
    expected = np.zeros(5)
    for o, p in chance.items():
        expected[list(o)] += p * LOOKS
    assert exposure.mean(axis=0) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("propensity", [[0.2, 0.5, 0.9], [np.nan] * 3, [1.0, 1.0, 1.0]])
def test_propensities_of_another_design_are_not_believed(propensity):
    table = slates([ODDS[:3]] * 3, [[1, 2, 3]] * 3, [propensity] * 3)
    rng = np.random.default_rng(0)
    assert recorded_exposure(table, np.ones((3, 3), bool), np.tile(LOOKS, (3, 1)), rng=rng) is None


def test_shadow_prices_are_part_of_what_was_drawn_by():
    shown, prices = (2, 0, 4), np.array([0.5, 0.0, 0.25])
    table = slates([ODDS[list(shown)] - prices] * 400, [[1, 2, 3]] * 400, [drawn(ODDS, shown)] * 400, prices=prices)
    mask, looks = np.ones((400, 3), bool), np.tile(LOOKS, (400, 1))
    exposure = recorded_exposure(table, mask, looks, rng=np.random.default_rng(0))
    assert exposure.mean(axis=0) == pytest.approx(by_counting(ODDS, shown), rel=0.02)


def test_temperature_divides_the_recorded_value():
    shown = (2, 0, 4)
    table = slates([3 * ODDS[list(shown)]] * 50, [[1, 2, 3]] * 50, [drawn(ODDS, shown)] * 50)
    mask, looks = np.ones((50, 3), bool), np.tile(LOOKS, (50, 1))
    assert recorded_exposure(table, mask, looks, rng=np.random.default_rng(0)) is None
    exposure = recorded_exposure(table, mask, looks, rng=np.random.default_rng(0), temperature=3.0)
    assert exposure.sum(axis=1) == pytest.approx(LOOKS.sum())


def test_a_search_is_drawn_tier_by_tier():
    """Two tiers: the first fills the first two places whatever its odds; of the second, one takes the last."""
    order, tier = (3, 1, 2), np.array([1.0, 2.0, 1.0, 2.0, 1.0])
    first, second = [1, 3], [0, 2, 4]
    position, propensity = np.zeros(5, int), np.full(5, np.nan)
    position[list(order)] = (1, 2, 3)
    propensity[[3, 1]] = drawn(ODDS[first], (1, 0))
    propensity[2] = drawn(ODDS[second], (1,))[0]
    table, mask = slates([ODDS] * 200, [position] * 200, [propensity] * 200), np.ones((200, 5), bool)
    looks = LOOKS
    settings = {"rng": np.random.default_rng(0), "tier": np.tile(tier, (200, 1))}
    exposure = recorded_exposure(table, mask, np.tile(looks, (200, 1)), **settings).mean(axis=0)
    ahead = np.exp(ODDS[1]) / np.exp(ODDS[first]).sum()
    expected = np.zeros(5)
    expected[[1, 3]] = ahead * looks[:2] + (1 - ahead) * looks[1::-1]
    expected[second] = looks[2] * np.exp(ODDS[second]) / np.exp(ODDS[second]).sum()
    assert exposure == pytest.approx(expected, rel=0.02)
    assert recorded_exposure(table, mask, np.tile(looks, (200, 1)), rng=np.random.default_rng(0)) is None
