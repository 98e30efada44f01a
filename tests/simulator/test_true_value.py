"""True values: exact against a slow oracle, honest about their error, and open to answers of any engine."""

import numpy as np
import pyarrow as pa
import pytest

from marketplace.schema import REQUEST_FIELDS
from marketplace.simulator import (
    best_of_catalogue,
    expected_outcomes,
    logging_policy,
    per_request,
    popularity_policy,
    random_policy,
    true_difference,
    true_gmv_policy,
    true_value,
)
from marketplace.simulator.shown import best_first


@pytest.fixture(scope="module")
def questions(small):
    requests = small.draw_requests(np.random.default_rng(1), count=400)
    return requests, small.draw_candidates(requests, np.random.default_rng(2))


def test_expectations_equal_a_slow_oracle(small, questions):
    requests, candidates = questions[0].take(slice(0, 12)), questions[1][:12]
    ranked = candidates[:, :6]
    sums = per_request(expected_outcomes(small.market, requests, ranked))
    curve, merchants = small.examination(positions=6), small.market.merchants
    for row in range(12):
        clicks = orders = gmv = commission = 0.0
        for place, item in enumerate(ranked[row]):
            if item < 0:
                continue
            one = small.respond(requests.take(slice(row, row + 1)), np.array([[item]], np.int32))
            click = curve[requests.surface[row], place] * one.attraction[0, 0]
            clicks += click
            orders += click * one.order[0, 0]
            value = click * one.order[0, 0] * one.price[0, 0] * (1 + one.extra_units[0, 0])
            gmv += value
            kept = (1 - one.refused[0, 0]) * (1 - one.returned[0, 0])
            commission += value * kept * merchants.commission_rate[small.market.items.merchant[item]]
        drawn = [sums[name][0][row] for name in ("clicks", "orders", "gmv_sar", "commission_sar")]
        assert np.allclose(drawn, [clicks, orders, gmv, commission], rtol=1e-6)


def test_an_engines_answer_counts_like_the_policy_that_gave_it(small, questions):
    requests, candidates = questions
    policy = popularity_policy(small.market)
    scores = np.where(candidates >= 0, policy(requests, candidates), -np.inf)
    ranked = np.take_along_axis(candidates, np.argsort(-scores, axis=1, kind="stable"), axis=1)
    rng = np.random.default_rng(0)
    by_scores = true_value(small, policy, rng=rng, requests=requests, candidates=candidates)
    by_items = true_value(small, ranked, rng=rng, requests=requests)
    for name, one in by_scores.items():
        other = by_items[name]
        assert np.allclose([one.value, one.low, one.high], [other.value, other.low, other.high], rtol=1e-9), name


def test_nobody_beats_the_oracle_on_gmv_and_the_whole_catalogue_beats_its_candidates(small, questions):
    requests, candidates = questions
    rng = np.random.default_rng(0)
    oracle = true_gmv_policy(small.market)
    for other in (random_policy(rng), popularity_policy(small.market), logging_policy(small.market, rng)):
        gap = true_difference(small, oracle, other, rng=rng, requests=requests, candidates=candidates)
        assert gap["gmv_sar"].low > 0
    bound = best_of_catalogue(small, requests)
    gap = true_difference(small, bound, oracle, rng=rng, requests=requests, candidates=candidates)
    assert gap["gmv_sar"].low > 0


def test_the_oracle_ranks_by_gmv_within_every_list(small, questions):
    """The top of a list is examined most, so swapping neighbours of the oracle's list must not gain."""
    requests, candidates = questions
    gmv = np.where(candidates >= 0, small.respond(requests, candidates).gmv, -np.inf)
    ranked = np.take_along_axis(candidates, np.argsort(-gmv, axis=1), axis=1)[:, :10]
    swapped = ranked[:, [1, 0, *range(2, 10)]]
    best, other = (expected_outcomes(small.market, requests, lists).gmv.sum(axis=1) for lists in (ranked, swapped))
    assert (best >= other - 1e-9).all()
    assert best.sum() > other.sum()


def test_a_policy_does_not_differ_from_itself(small, questions):
    policy = popularity_policy(small.market)
    gap = true_difference(small, policy, policy, rng=np.random.default_rng(0), requests=questions[0])
    assert all(row.value == row.low == row.high == 0 for row in gap.values())


def test_intervals_cover_the_long_run_mean_and_narrow_with_more_requests(small):
    policy = true_gmv_policy(small.market)
    long_run = true_value(small, policy, rng=np.random.default_rng(99), requests=20_000)
    runs = [true_value(small, policy, rng=np.random.default_rng(seed), requests=300) for seed in range(60)]
    for name in ("ctr", "cvr", "gmv_sar", "newcomer_exposure"):
        covered = np.mean([run[name].low <= long_run[name].value <= run[name].high for run in runs])
        assert covered >= 0.83, name
        assert (long_run[name].high - long_run[name].low) < 0.25 * (runs[0][name].high - runs[0][name].low)


def test_pairing_tells_policies_apart_better_than_two_separate_runs(small, questions):
    requests, candidates = questions
    rng = np.random.default_rng(0)
    pair = true_gmv_policy(small.market), popularity_policy(small.market)
    gap = true_difference(small, *pair, rng=rng, requests=requests, candidates=candidates)["orders"]
    apart = [true_value(small, who, rng=rng, requests=requests, candidates=candidates)["orders"] for who in pair]
    assert np.isclose(gap.value, apart[0].value - apart[1].value)
    assert gap.high - gap.low < np.hypot(*[row.high - row.low for row in apart])


def test_a_value_of_ones_own_is_summed_over_the_list(small, questions):
    worth = true_value(
        small,
        popularity_policy(small.market),
        rng=np.random.default_rng(0),
        requests=questions[0],
        value=lambda outcomes: 0.14 * outcomes.click + outcomes.gmv,
    )
    assert np.isclose(worth["value"].value, 0.14 * worth["clicks"].value + worth["gmv_sar"].value)


def test_items_that_are_not_on_sale_earn_nothing(small, questions):
    requests = questions[0].take(slice(0, 1))
    items = small.market.items
    unsold = np.flatnonzero(~items.in_stock | (items.available > requests.day[0]))[:5].astype(np.int32)
    outcome = expected_outcomes(small.market, requests, unsold[None, :])
    assert outcome.click.sum() == 0


def test_requests_can_be_put_to_an_engine(small, questions):
    requests = questions[0]
    table = small.request_table(requests)
    assert table.schema.equals(pa.schema(REQUEST_FIELDS[: table.num_columns]))
    assert table.column_names[-1] == "currency"
    ids = small.dataset.items["item_id"]
    assert np.array_equal(small.item_rows(ids), np.arange(len(ids)))
    logged = small.request_table(small.requests, prefix="r")
    assert logged.to_pylist() == small.dataset.slates.select(logged.column_names).to_pylist()


def test_slates_are_read_back_by_request_and_position(small):
    slates, ids = small.dataset.slates, small.dataset.slates["request_id"]
    mixed = slates.take(np.random.default_rng(0).permutation(len(slates)))
    ranked = small.ranked_items(mixed, ids)
    assert np.array_equal(ranked, np.where(small.ranked.shown, small.ranked.item, -1)[:, : ranked.shape[1]])
    assert (small.ranked_items(slates.slice(1), ids)[0] == -1).all()
    with pytest.raises(ValueError, match="answers none"):
        small.ranked_items(slates, ids.slice(1))


def test_feedback_on_other_lists_follows_their_expectation(small):
    """Show the oracle's lists for a week after the log: clicks and orders come as its true value says."""
    requests = small.draw_requests(np.random.default_rng(1), count=6_000, window=(42.0, 49.0))
    assert requests.day.min() >= 42
    assert requests.day.max() < 49.1
    candidates = small.draw_candidates(requests, np.random.default_rng(2))
    ranked = best_first(
        true_gmv_policy(small.market)(requests, candidates),
        candidates,
        length=np.full(len(requests), 30),
    )
    feedback = small.draw_feedback(requests, ranked, np.random.default_rng(3), prefix="w")
    event = feedback["event"].cast(pa.string()).to_numpy()
    truth = true_value(small, ranked, rng=np.random.default_rng(0), requests=requests)
    for name, count in (("clicks", (event == "click").sum()), ("orders", (event == "order").sum())):
        expected = truth[name].value * len(requests)
        assert abs(count - expected) < 4 * np.sqrt(expected)
    assert set(feedback["request_id"].to_pylist()) <= set(
        small.request_table(requests, prefix="w")["request_id"].to_pylist()
    )
    with pytest.raises(ValueError, match="window"):
        small.draw_requests(np.random.default_rng(1), count=10, window=(5.0, 5.0))


@pytest.mark.parametrize(
    ("ranked", "message"),
    [
        (np.array([[3, 3]]), "twice"),
        (np.array([[3, 10**6]]), "outside"),
        (np.array([[3], [4]]), "one row for each"),
    ],
)
def test_a_wrong_answer_says_what_is_wrong(small, questions, ranked, message):
    with pytest.raises(ValueError, match=message):
        true_value(small, ranked, rng=np.random.default_rng(0), requests=questions[0].take(slice(0, 1)))


def test_an_answer_without_its_questions_is_refused(small):
    with pytest.raises(ValueError, match="RequestBatch"):
        true_value(small, np.zeros((5, 3), int), rng=np.random.default_rng(0), requests=5)
