"""Effects from mergeable sums, beside gbstats' published vectors and statsmodels on the same rows."""

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from evaluation.experiments.effects import Missing, Ratio, effect, level_of
from evaluation.experiments.sums import UnitSums, post_stratified, unit_sums

CTR, ORDERS = Ratio("clicks", "impressions"), Ratio("orders")
BEFORE = Ratio("clicks_before", "impressions_before")


def units(n=600, *, seed=1, lift=0.0, strata=3):
    """Units whose clicks before and after hang together, and an arm for each."""
    rng = np.random.default_rng(seed)
    taste, arm, stratum = rng.beta(2, 8, n), rng.integers(0, 2, n), rng.integers(0, strata, n)
    impressions, earlier = rng.poisson(20, n) + 1, rng.poisson(15, n) + 1
    columns = {
        "clicks": rng.binomial(impressions, np.clip(taste + lift * arm + 0.05 * stratum, 0, 1)),
        "impressions": impressions,
        "clicks_before": rng.binomial(earlier, taste),
        "impressions_before": earlier,
        "orders": rng.poisson(taste * 2 + 0.5 * stratum),
        "money": np.round(rng.gamma(2, 30, n) - 40, 2),
    }
    return {name: column.astype(float) for name, column in columns.items()}, arm, stratum


def arms(columns, arm):
    means = unit_sums(columns, arm, groups=2)
    return means[0].means, means[1].means


def test_shards_add_up_to_all_rows():
    columns, arm, _ = units()
    whole = unit_sums(columns, arm, groups=2)
    parts = [unit_sums({k: v[at::3] for k, v in columns.items()}, arm[at::3], groups=2) for at in range(3)]
    merged = parts[0] + parts[1] + parts[2]
    np.testing.assert_allclose(merged.products, whole.products, rtol=1e-14)
    matrix = np.column_stack([np.ones(len(arm)), *columns.values()])[arm == 1]
    np.testing.assert_allclose(whole[1].means.covariance, np.cov(matrix.T) / len(matrix), atol=1e-12)
    with pytest.raises(ValueError, match="same columns"):
        whole + unit_sums({"clicks": columns["clicks"]}, arm, groups=2)
    with pytest.raises(ValueError, match="'clicks': unit 3 is not finite"):
        unit_sums({"clicks": np.where(np.arange(600) == 3, np.nan, 1.0)}, arm, groups=2)


def test_mean_and_ratio_are_those_of_statsmodels():
    """Welch's interval of means; the regression of rows on the arm with errors clustered by unit, for a ratio."""
    columns, arm, _ = units(lift=0.03)
    control, variant = arms(columns, arm)
    ours = effect(control, variant, ORDERS)
    theirs = CompareMeans(*(DescrStatsW(columns["orders"][arm == one]) for one in (1, 0)))
    assert ours.p_value == pytest.approx(theirs.ttest_ind(usevar="unequal")[1], rel=1e-9)
    estimate = ours.fixed()
    assert (estimate.low, estimate.high) == pytest.approx(theirs.tconfint_diff(usevar="unequal"), rel=1e-9)

    rows = np.repeat(np.arange(len(arm)), columns["impressions"].astype(int))
    place = np.arange(len(rows)) - np.repeat(
        np.cumsum(columns["impressions"]) - columns["impressions"], columns["impressions"].astype(int)
    )
    clicked = (place < columns["clicks"][rows]).astype(float)
    fits = [
        sm.OLS(clicked[mine], np.ones(mine.sum())).fit(
            cov_type="cluster", cov_kwds={"groups": rows[mine], "use_correction": False}
        )
        for mine in (arm[rows] == 0, arm[rows] == 1)
    ]
    ours = effect(control, variant, CTR)
    count = np.bincount(arm)
    noise = sum(fit.bse[0] ** 2 * n / (n - 1) for fit, n in zip(fits, count, strict=True))
    assert (ours.value, ours.error) == pytest.approx((fits[1].params[0] - fits[0].params[0], noise**0.5), rel=1e-9)


def test_regression_adjustment_takes_noise_and_no_effect():
    """Welch's test of statsmodels on the units' adjusted values, and nearly its interacted regression (Lin 2013)."""
    columns, arm, _ = units(4000, lift=0.02)
    control, variant = arms(columns, arm)
    plain, adjusted = effect(control, variant, CTR), effect(control, variant, CTR, covariates=(BEFORE,))
    assert adjusted.kept == pytest.approx((adjusted.error / plain.error) ** 2)
    assert adjusted.kept < 0.7
    assert adjusted.value == pytest.approx(plain.value, abs=2 * plain.error)

    y, x = columns["orders"], columns["clicks_before"]
    ours = effect(control, variant, ORDERS, covariates=(Ratio("clicks_before"),))
    noise = sum(np.cov(y[arm == one], x[arm == one]) / (arm == one).sum() for one in (0, 1))
    left = y - noise[0, 1] / noise[1, 1] * x
    theirs = CompareMeans(*(DescrStatsW(left[arm == one]) for one in (1, 0)))
    estimate = ours.fixed()
    assert (estimate.low, estimate.high) == pytest.approx(theirs.tconfint_diff(usevar="unequal"), rel=1e-9)
    centred = x - x.mean()
    lin = sm.OLS(y, np.column_stack([np.ones(4000), arm, centred, arm * centred])).fit(cov_type="HC2")
    assert (ours.value, ours.error) == pytest.approx((lin.params[1], lin.bse[1]), rel=2e-3)
    constant = {**columns, "clicks_before": np.ones(4000)}
    assert effect(*arms(constant, arm), ORDERS, covariates=(Ratio("clicks_before"),)).kept == 1.0


GBSTATS = {  # sums by arm: post numerator, post denominator, pre numerator, pre denominator, and their products
    "total": [
        [485.112236689623, 679.9093275844917, 192.59138069991536, 290.1398399750233],
        [514.7757826608777, 705.4090874383759, 206.94157227402536, 302.54389139107326],
    ],
    "squares": [
        [2715.484666118136, 4939.424001640236, 460.076026390857, 920.9461385038898],
        [2994.897482705013, 5291.36604146392, 514.2903702246757, 994.4506208125663],
    ],
    "pairs": [  # (m, d), (m, m_pre), (m, d_pre), (d, m_pre), (d, d_pre), (m_pre, d_pre)
        [3602.146836776702, 1113.6215759318352, 1559.2878434944676, 1460.3181079276983, 2130.9404074446747,
         634.239482353647],
        [3918.1561431600717, 1237.0953021125997, 1701.0287270040265, 1604.0759503266522, 2292.081739775257,
         698.4173425817908],
    ],
}  # fmt: skip


def test_ratio_with_cuped_is_that_of_gbstats():
    """Relative effect -0.0007 in (-.00841, .00700) at one look, in (-.02063, .01923) at any."""
    total = np.column_stack([[100, 100], GBSTATS["total"]])
    products = np.zeros((2, 5, 5))
    products[:, np.triu_indices(4, 1)[0] + 1, np.triu_indices(4, 1)[1] + 1] = GBSTATS["pairs"]
    products += np.swapaxes(products, 1, 2)
    products[:, range(1, 5), range(1, 5)] = GBSTATS["squares"]
    products[:, 0, :], products[:, :, 0] = total, total
    sums = UnitSums(("units", "m", "d", "m_pre", "d_pre"), np.array([100, 100]), total, products)
    ours = effect(sums[0].means, sums[1].means, Ratio("m", "d"), covariates=(Ratio("m_pre", "d_pre"),), relative=True)
    anytime, fixed = ours.any_time(best_at=5000), ours.fixed()
    assert (ours.value, ours.error) == pytest.approx((-0.0007, 0.00391), abs=1e-5)
    assert (anytime.low, anytime.high) == pytest.approx((-0.02063, 0.01923), abs=1e-5)
    assert (fixed.low, fixed.high) == pytest.approx((-0.00841, 0.00700), abs=1e-5)


def test_strata_weigh_as_they_stand_in_both_arms():
    columns, arm, stratum = units(3000)
    sums = unit_sums(columns, arm * 3 + stratum, groups=6)
    grid = sums[np.arange(6).reshape(2, 3)]
    share = np.bincount(stratum) / len(stratum)
    stratified = effect(*(post_stratified(grid[one], share) for one in (0, 1)), ORDERS)
    by_hand = sum(
        w
        * (
            columns["orders"][(arm == 1) & (stratum == s)].mean()
            - columns["orders"][(arm == 0) & (stratum == s)].mean()
        )
        for s, w in enumerate(share)
    )
    assert stratified.value == pytest.approx(by_hand)
    assert stratified.error < effect(*arms(columns, arm), ORDERS).error


def test_a_negative_base_keeps_the_sign_of_the_change():
    columns, arm, _ = units(5000)
    columns["money"] = columns["money"] - 60 + 5 * arm
    relative = effect(*arms(columns, arm), Ratio("money"), relative=True)
    absolute = effect(*arms(columns, arm), Ratio("money"))
    assert arms(columns, arm)[0].mean[-1] < 0 < relative.value
    assert relative.value == pytest.approx(float(absolute.value) / abs(arms(columns, arm)[0].mean[-1]))


def test_what_cannot_be_computed_is_missing_with_its_reason():
    columns, arm, _ = units(200)
    columns["nothing"], columns["noise"] = np.zeros(200), np.random.default_rng(0).normal(0, 1, 200)
    control, variant = arms(columns, arm)
    reasons = {
        "no nothing in an arm": effect(control, variant, Ratio("orders", "nothing")).fixed(),
        "chance cannot be judged": effect(control, variant, Ratio("nothing")).any_time(best_at=100),
        "not surely away from 0": effect(control, variant, Ratio("noise"), relative=True).fixed(),
        "fewer than 2 units": effect(*arms(columns, np.where(np.arange(200) == 0, 1, 0)), ORDERS).fixed(),
        "no nothing": level_of(control, Ratio("orders", "nothing")),
    }
    for reason, result in reasons.items():
        assert isinstance(result, Missing)
        assert reason in str(result)
    assert level_of(control, ORDERS).value == pytest.approx(columns["orders"][arm == 0].mean())


def test_all_contrasts_of_a_shape_come_at_once():
    columns, arm, stratum = units()
    grid = unit_sums(columns, arm * 3 + stratum, groups=6)[np.arange(6).reshape(2, 3)]
    at_once = effect(grid[0].means, grid[1].means, CTR, covariates=(BEFORE,), relative=True)
    alone = effect(grid[0, 2].means, grid[1, 2].means, CTR, covariates=(BEFORE,), relative=True)
    assert at_once[2].fixed() == alone.fixed()
