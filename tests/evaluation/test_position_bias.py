"""Position models recover the examination that their clicks were sampled from."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from evaluation.bias import click_models as position_bias
from evaluation.bias.click_models import cells, fit_pbm, harvest, randomised
from evaluation.bias.examination import examination_ratio, fitted_curves, inverse_examination
from evaluation.bias.regression_em import Classified, fit_regression_em

DEPTH = 6
TRUTH = np.array([1.0, 0.72, 0.55, 0.43, 0.33, 0.26])


def sample(rng, *, requests, queries=40, items=10, noise=1.0, features=False):
    """Lists ranked by a noisy view of attraction: good items stand high, so click rates by position mislead."""
    weights = rng.normal(size=4)
    x = rng.normal(size=(queries, items, 4))
    attraction = 1 / (1 + np.exp(1.5 - x @ weights))
    query = rng.integers(queries, size=requests)
    score = np.log(attraction[query]) + noise * rng.normal(size=(requests, items))
    shown = np.argsort(-score, axis=1)[:, :DEPTH]
    chance = TRUTH * attraction[query[:, None], shown]
    click = (rng.random(chance.shape) < chance).astype(float).ravel()
    pair = (query[:, None] * items + shown).ravel()
    position = np.tile(np.arange(1, DEPTH + 1), requests)
    offsets = np.arange(0, len(click) + 1, DEPTH)
    return position, click, (x[query[:, None], shown].reshape(-1, 4) if features else pair), offsets


def naive(position, click):
    rate = np.bincount(position - 1, click) / np.bincount(position - 1)
    return rate / rate[0]


def worst(examination):
    return abs(examination / TRUTH - 1).max()


@pytest.mark.parametrize(
    "fit", [lambda data: fit_pbm(data, depth=DEPTH).examination, lambda d: harvest(d, depth=DEPTH)]
)
def test_examination_is_recovered_within_five_percent_where_click_rates_mislead(fit):
    position, click, pair, _ = sample(np.random.default_rng(0), requests=150_000)
    assert worst(naive(position, click)) > 0.2
    assert worst(fit(cells(position, click, pair, depth=DEPTH))) < 0.05


def test_each_surface_has_its_curve_and_one_without_clicks_takes_that_of_all():
    position, click, pair, offsets = sample(np.random.default_rng(6), requests=60_000)
    surface = np.repeat(np.arange(len(offsets) - 1) % 3, DEPTH)  # nobody looks below the third place of surface 1
    click = np.where((surface == 1) & (position > 3) | (surface == 2), 0.0, click)
    curves = fitted_curves(np.append(position, 0), np.append(click, 1), np.append(pair, 0), np.append(surface, 0))
    np.testing.assert_allclose(curves[0], TRUTH, atol=0.06)
    np.testing.assert_allclose(curves[1], np.where(np.arange(DEPTH) < 3, TRUTH, 0), atol=0.06)
    everywhere = fitted_curves(position, click, pair, np.zeros(len(click)))[0]
    np.testing.assert_allclose(curves[2], everywhere, atol=1e-3)


@pytest.mark.parametrize(("requests", "error"), [(8000, 0.12), pytest.param(40_000, 0.05, marks=pytest.mark.slow)])
def test_regression_em_recovers_examination_without_repeated_pairs(requests, error):
    position, click, features, _ = sample(np.random.default_rng(1), requests=requests, queries=requests, features=True)
    fitted = fit_regression_em(position, click, features, depth=DEPTH)
    assert worst(naive(position, click)) > 0.2
    assert worst(fitted.examination) < error
    assert (np.diff(fitted.log_likelihood) > -1e-8).all()


def test_regression_em_takes_a_scikit_learn_classifier():
    position, click, features, _ = sample(np.random.default_rng(8), requests=3000, queries=3000, features=True)
    logistic = Classified(LogisticRegression(C=1e3))
    plain = fit_regression_em(position, click, features, depth=DEPTH, iterations=20)
    through = fit_regression_em(position, click, features, depth=DEPTH, iterations=20, regression=logistic)
    np.testing.assert_allclose(through.examination, plain.examination, rtol=0.02)


def test_randomised_lists_need_no_model_and_their_intervals_cover():
    rng = np.random.default_rng(2)
    position, click, _, offsets = sample(rng, requests=60_000, noise=1e6)
    examination = randomised(position, click, offsets, depth=DEPTH, rng=rng)
    assert worst(np.array([e.value for e in examination])) < 0.05
    assert sum(e.low <= t <= e.high for e, t in zip(examination, TRUTH, strict=True)) >= 5


def test_unequal_shuffles_are_set_right_by_their_propensities():
    rng = np.random.default_rng(3)
    requests, attraction = 80_000, np.array([0.5, 0.1])
    swapped = rng.random(requests) < 0.2
    shown = np.where(swapped[:, None], [1, 0], [0, 1])
    click = (rng.random((requests, 2)) < TRUTH[:2] * attraction[shown]).astype(float).ravel()
    chance = np.repeat(np.where(swapped, 0.2, 0.8), 2)
    position, offsets = np.tile([1, 2], requests), np.arange(0, 2 * requests + 1, 2)
    examination = randomised(position, click, offsets, depth=2, rng=rng, propensity=chance)
    assert naive(position, click)[1] < 0.5
    assert examination[1].value == pytest.approx(TRUTH[1], rel=0.05)


def test_likelihood_never_falls_and_true_parameters_are_not_beaten_by_much():
    position, click, pair, _ = sample(np.random.default_rng(4), requests=20_000)
    assert (np.diff(fit_pbm(cells(position, click, pair, depth=DEPTH), depth=DEPTH).log_likelihood) > -1e-12).all()


def test_positions_that_no_swap_links_are_not_guessed():
    data = cells(np.array([1, 2, 3, 4]), np.ones(4), np.array([0, 0, 1, 1]), depth=4)
    examination = harvest(data, depth=4)
    assert examination[0] == 1
    assert np.isfinite(examination[1])
    assert np.isnan(examination[2:]).all()


def test_refitted_intervals_cover_and_tighten():
    rng, covered, widths = np.random.default_rng(5), [], {2000: [], 20_000: []}
    for requests in (*[2000] * 5, 20_000):
        position, click, pair, offsets = sample(rng, requests=requests, queries=10)
        examination = position_bias.with_intervals(
            lambda data: harvest(data, depth=DEPTH), position, click, pair, offsets, depth=DEPTH, rng=rng, replicates=15
        )
        widths[requests].append(examination[3].high - examination[3].low)
        covered += [e.low <= t <= e.high for e, t in zip(examination[1:], TRUTH[1:], strict=True)]
    assert np.mean(covered) > 0.75  # 30 correlated intervals
    assert np.mean(widths[20_000]) < np.mean(widths[2000]) / 2


def test_weights_undo_the_bias_of_clicks():
    rng = np.random.default_rng(6)
    position, click, _, _ = sample(rng, requests=50_000, noise=1e6)
    weight = inverse_examination(TRUTH, position)
    by_place = np.bincount(position - 1, weight * click) / np.bincount(position - 1)
    np.testing.assert_allclose(by_place / by_place[0], 1, atol=0.05)
    np.testing.assert_array_equal(inverse_examination(TRUTH, np.array([0, 1, 99]), cap=3), [0, 1, 3])


def fits(position, click, pair, *, depth):
    """Examination by every model, and its attraction where it has one, of lists of one item."""
    data, rng = cells(position, click, pair, depth=depth), np.random.default_rng(0)
    shuffled = randomised(position, click, np.arange(len(click) + 1), depth=depth, rng=rng, replicates=20)
    return {
        "pbm": fit_pbm(data, depth=depth).examination,
        "harvest": harvest(data, depth=depth),
        "regression": fit_regression_em(position, click, np.ones((len(click), 1)), depth=depth).examination,
        "randomised": np.array([estimate.value for estimate in shuffled]),
    }


def test_a_position_that_was_never_shown_is_not_a_position_that_nobody_looks_at():
    rng = np.random.default_rng(9)
    position, pair = rng.choice([1, 2, 4], 4000), rng.choice([0, 1, 3], 4000)
    click = (rng.random(4000) < 0.4 / position).astype(float)
    for name, examination in fits(position, click, pair, depth=5).items():
        np.testing.assert_array_equal(np.isnan(examination), [False, False, True, False, True], err_msg=name)
    np.testing.assert_array_equal(
        np.isnan(fit_pbm(cells(position, click, pair, depth=5), depth=5).attraction), [False, False, True, False]
    )


def test_without_a_first_position_nothing_is_relative_to_it():
    rng = np.random.default_rng(10)
    position, pair = rng.choice([2, 3], 2000), rng.integers(3, size=2000)
    for name, examination in fits(position, rng.integers(2, size=2000) * 1.0, pair, depth=3).items():
        assert np.isnan(examination).all(), name


def test_a_ratio_is_unknown_only_for_items_at_an_unknown_position():
    examination = np.array([1.0, 0.5, np.nan])
    policy, logging = np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]]), np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(examination_ratio(policy, logging, examination), [0.75, np.nan])


def test_deterministic_lists_can_be_asked_about_another_order():
    """Reversing the list: the PBM ratio turns its clicks into those that the reversed list would get."""
    rng = np.random.default_rng(7)
    attraction = np.array([0.5, 0.3, 0.2, 0.2, 0.1, 0.05])
    click = (rng.random((60_000, DEPTH)) < TRUTH * attraction).mean(axis=0)
    ratio = examination_ratio(np.eye(DEPTH)[::-1], np.eye(DEPTH), TRUTH)
    assert (click * ratio).sum() == pytest.approx((TRUTH[::-1] * attraction).sum(), rel=0.03)


def test_nothing_shown_is_refused():
    with pytest.raises(ValueError, match="none of 2 impressions lies in"):
        cells(np.array([0, 9]), np.zeros(2), np.zeros(2, int), depth=5)
