"""Any-time intervals, spending, sample ratios and planned effects beside published numbers and slow oracles."""

import numpy as np
import pytest
from scipy.stats import dirichlet_multinomial, multinomial, norm

from evaluation.experiments import sequences, spending, srm
from evaluation.experiments.plan import least_effect
from evaluation.experiments.spending import Spending


def test_sequences_are_those_of_gbstats():
    """Relative effect of 2422 / 3461 against 1396 / 3000, and a one-sided bound: gbstats' published vectors."""
    control, variant = 1396 / 3000, 2422 / 3461
    noise = variant * (1 - variant) / 3461 / control**2 + control * (1 - control) / 3000 * variant**2 / control**4
    estimate = sequences.confidence_sequence(variant / control - 1, noise**0.5, 6461, best_at=5000)
    assert (estimate.low, estimate.high) == pytest.approx((0.40098, 0.60675), abs=1e-5)
    bound = sequences.safety_bound(0.5033610858562358, 0.3334122146400735, 6461, best_at=5000)
    assert (bound.low, bound.high) == pytest.approx((-0.42356454602790883, np.inf), abs=1e-12)
    harm = sequences.harm_bound(0.5033610858562358, 0.3334122146400735, 6461, best_at=5000)
    assert harm.high == pytest.approx(1.4302867177403806, abs=1e-12)


@pytest.mark.parametrize("z", [0.5, 2.5, 4.0])
def test_interval_and_p_value_agree(z):
    """0 lies on the interval's edge exactly where the p-value is alpha."""
    edge = sequences.p_value(z, 1.0, 4000, best_at=5000)
    estimate = sequences.confidence_sequence(z, 1.0, 4000, best_at=5000)
    assert (edge < 0.05) == estimate.excludes_zero
    half = sequences.half_width(1.0, 4000, best_at=5000)
    assert sequences.p_value(half, 1.0, 4000, best_at=5000) == pytest.approx(0.05)
    mixed = sequences.mixture_interval(z, 1.0, 4000, expected=2.0)
    assert sequences.mixture_p_value(mixed.high - z, 1.0, expected=2.0) == pytest.approx(0.05)


def test_the_mixture_is_the_integral_it_claims_to_be():
    value, error, spread = 0.7, 0.4, 0.5
    effect = np.linspace(-6, 6, 20_001)
    odds = np.exp((value * effect - effect**2 / 2) / error**2)
    integral = (odds * norm.pdf(effect, 0, spread)).sum() * (effect[1] - effect[0])
    assert np.exp(sequences.log_evidence(value, error, spread)) == pytest.approx(integral)


def test_looking_every_day_errs_less_than_promised_where_z_errs_often():
    steps = np.random.default_rng(1).normal(0, 1, (2000, 60)).cumsum(axis=1)
    n = 200 * np.arange(1, 61)
    value, error = steps / np.arange(1, 61), 1 / np.sqrt(np.arange(1, 61))
    anytime = (np.abs(value) > sequences.half_width(error, n, best_at=6000)).any(axis=1).mean()
    one_sided = (value > sequences.bound_width(error, n, best_at=6000)).any(axis=1).mean()
    mixture = (sequences.mixture_p_value(value, error, expected=0.2) < 0.05).any(axis=1).mean()
    plain = (np.abs(value / error) > 1.96).any(axis=1).mean()
    assert max(anytime, one_sided, mixture) <= 0.05 < 0.25 < plain


@pytest.mark.parametrize(
    ("how", "published"),
    [
        (Spending.OBRIEN_FLEMING, (4.877, 3.357, 2.680, 2.290, 2.031)),
        (Spending.POCOCK, (2.438, 2.427, 2.410, 2.397, 2.386)),
    ],
)
def test_boundaries_are_those_of_the_tables(how, published):
    """Five equal looks at 5 %, two sides: the tables of Lan-DeMets boundaries."""
    assert spending.boundaries([0.2, 0.4, 0.6, 0.8, 1.0], how=how) == pytest.approx(published, abs=6e-4)
    assert spending.boundaries([1.0], how=how)[0] == pytest.approx(norm.isf(0.025))


def test_spending_ends_at_alpha_and_refuses_looks_that_go_back():
    for how in Spending:
        assert spending.spent(1.0, alpha=0.05, how=how) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="must increase"):
        spending.boundaries([0.5, 0.5])
    estimate = spending.interval(1.0, 0.4, 800, fractions=[0.5, 1.0])
    assert estimate.high == pytest.approx(1.0 + 0.4 * spending.boundaries([0.5, 1.0])[1])


def test_evidence_of_a_broken_ratio_is_the_odds_of_the_two_models():
    counts, shares = np.array([40, 70]), np.array([0.4, 0.6])
    odds = dirichlet_multinomial(shares * 500, 110).logpmf(counts) - multinomial(110, shares).logpmf(counts)
    assert srm.log_evidence(counts, shares, beliefs=(500,)) == pytest.approx(odds)
    assert srm.fixed_p_value(counts, shares) == pytest.approx(2 * norm.sf(abs(40 - 44) / (110 * 0.4 * 0.6) ** 0.5))


def test_a_half_per_cent_mismatch_shows_and_a_fair_split_does_not():
    assert srm.ratio_check(np.array([505_000, 495_000]), np.array([0.5, 0.5])).broken()
    assert not srm.ratio_check(np.array([500_300, 499_700]), np.array([1, 1])).broken()
    rng = np.random.default_rng(2)
    looks = np.stack([heads := rng.binomial(500, 0.5, (2000, 40)).cumsum(axis=1), 500 * np.arange(1, 41) - heads], -1)
    assert (srm.sequential_p_values(looks, np.array([0.5, 0.5]))[:, -1] < 0.05).mean() <= 0.05
    assert srm.ratio_check(np.array([300, 160]), np.array([0.5, 0.5])).broken()
    with pytest.raises(ValueError, match="one share an arm"):
        srm.ratio_check(np.array([1, 2, 3]), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="above 0"):
        srm.ratio_check(np.array([1, 2]), np.array([1.0, 0.0]))


def test_a_planned_effect_is_found_with_the_planned_power():
    """Means of two arms, every unit of the second raised by the effect: the delta method's test, by quadrature."""
    noise = 0.03  # of an arm's mean, which is 1
    effect = least_effect(noise * 2**0.5, critical=norm.isf(0.025), power=0.8)
    drawn = np.linspace(-6, 6, 1201)
    chance = norm.pdf(drawn) * (drawn[1] - drawn[0])
    a, b = np.meshgrid(1 + noise * drawn, (1 + effect) * (1 + noise * drawn), indexing="ij")
    error = np.sqrt((noise * (1 + effect) / a) ** 2 + (noise * b / a**2) ** 2)
    exact = float(chance @ (np.abs(b / a - 1) > norm.isf(0.025) * error) @ chance)
    assert exact == pytest.approx(0.8, abs=0.02)
    assert least_effect(1e-4, critical=norm.isf(0.025), power=0.8) == pytest.approx(2.8016e-4, rel=1e-3)
    assert least_effect(0.6, critical=norm.isf(0.025), power=0.8) == np.inf
