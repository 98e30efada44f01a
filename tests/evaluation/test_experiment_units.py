"""The units of an experiment beside pandas on the same log, and what is checked before their effects are read."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from experiment_log import FILE, experiment_log, in_experiment
from scipy import stats
from statsmodels.stats.multitest import multipletests

from evaluation.experiments import trust
from evaluation.experiments.bayes import posterior
from evaluation.experiments.experiment_file import parse_experiment
from evaluation.experiments.multiple import benjamini_hochberg, holm
from evaluation.experiments.quantiles import quantile_difference, quantile_level
from evaluation.experiments.robust import trimmed_change, winsorised
from evaluation.experiments.trust import TrustLevel, bot_units, trust_checks
from evaluation.experiments.unit_table import unit_table
from marketplace.attribution import attribute


@pytest.fixture(scope="module")
def joined():
    _, slates, feedback = experiment_log()
    return attribute(slates, feedback)


@pytest.fixture(scope="module")
def table(joined):
    return unit_table(joined, experiment_log()[0])


@pytest.fixture(scope="module")
def rows(joined):
    """One row a slate, by pandas."""
    slates = joined.slates.select(["request_id", "time", "user_id", "session_id", "variant"]).to_pandas()
    labels = joined.labels.to_pandas()
    labels["slate"] = np.repeat(np.arange(len(slates)), [len(items) for items in joined.slates["item_id"].to_pylist()])
    sums = labels.groupby("slate")[["seen", "click", "order", "order_value", "net_value"]].sum()
    return slates.join(sums)


def test_units_are_those_of_pandas(rows, table):
    experiment = experiment_log()[0]
    inside = rows[rows.variant.notna()].sort_values("time", kind="stable")
    users = inside.groupby("user_id", observed=True)
    names = {"clicks": "click", "impressions": "seen", "gmv": "order_value", "net_gmv": "net_value", "orders": "order"}
    for name, column in names.items():
        np.testing.assert_allclose(np.sort(table.columns[name]), np.sort(users[column].sum()))
    assert table.columns["sessions"].sum() == users.session_id.nunique().sum()
    assert sorted(table.counts()) == sorted(users.variant.first().value_counts())
    known = inside.user_id.unique()
    before = rows[(rows.time < experiment.start) & rows.user_id.isin(known)]
    assert table.columns["clicks_before"].sum() == before.click.sum() > 0
    assert "newcomer_impressions" not in table.columns  # the simulator's log has no features


@pytest.mark.parametrize("unit", ["session", "merchant", "city_time"])
def test_other_units_are_whole(joined, rows, unit):
    experiment = parse_experiment(FILE.replace("days = 28", f'days = 28\nunit = "{unit}"'))
    units = unit_table(joined, experiment)
    kept = rows[rows.variant.notna()]
    if unit == "merchant":
        kept = kept[pd.Series(joined.slates["page_merchant_id"].to_pylist())[kept.index].notna()]
    assert units.columns["clicks"].sum() == kept.click.sum()
    if unit == "city_time":
        city = [dict(cell)["city"] for cell in joined.slates["context"].to_pylist()]
        day = kept.time.dt.floor("D").astype(str)
        assert len(units) == len(set(zip(pd.Series(city)[kept.index], day, strict=True)))
    else:
        assert not units.crossed.any() or unit == "merchant"


def test_newcomers_are_counted_where_newness_is_logged(joined):
    experiment, slates, feedback = experiment_log()
    slates = slates.slice(3000, 400)
    lengths = [len(items) for items in slates["item_id"].to_pylist()]
    cells = [[("newness", [0.5] + [0.0] * (length - 1))] if at % 2 else [] for at, length in enumerate(lengths)]
    at = slates.schema.get_field_index("numeric")
    slates = slates.set_column(at, slates.schema.field(at), pa.array(cells, slates.schema.field(at).type))
    counted = attribute(slates, feedback)
    units = unit_table(counted, experiment)
    first = np.flatnonzero(counted.labels["seen"].to_numpy()[np.cumsum([0, *lengths[:-1]])])
    tagged = np.array([variant is not None for variant in slates["variant"].to_pylist()])
    assert units.columns["newcomer_impressions"].sum() == sum(1 for row in first if row % 2 and tagged[row])


def test_a_fair_experiment_is_trusted_and_spoilt_ones_are_not(table):
    experiment = experiment_log()[0]
    checks = {check.name: check for check in trust_checks(table, experiment)}
    assert {check.level for check in checks.values()} == {TrustLevel.GOOD}
    lost = np.flatnonzero((table.variant == 1) & (np.arange(len(table)) % 2 == 0))
    kept = np.setdiff1d(np.arange(len(table)), lost)
    parts = ("variant", "first", "crossed")
    torn = replace(
        table,
        **{name: getattr(table, name)[kept] for name in parts},
        columns={name: column[kept] for name, column in table.columns.items()},
        segments={name: column[kept] for name, column in table.segments.items()},
    )
    assert trust.sample_ratio(torn, experiment).level is TrustLevel.BROKEN
    device = np.where(table.variant == 1, "ios", table.segments["device"])
    (tilted,) = trust.exposure_by_dimension(replace(table, segments={"device": device}), experiment)
    assert tilted.level is TrustLevel.BROKEN
    unlike = {**table.columns, "clicks_before": table.columns["clicks_before"] + 3.0 * table.variant}
    check = trust.pre_period(replace(table, columns=unlike), experiment)
    assert check.level is TrustLevel.DOUBT
    assert "clicks" in check.sentence
    robot = {**table.columns, "requests": np.where(np.arange(len(table)) == 5, 5000.0, table.columns["requests"])}
    assert np.flatnonzero(bot_units(replace(table, columns=robot))).tolist() == [5]
    crossed = replace(table, crossed=np.arange(len(table)) < 50)
    assert trust.carry_over(crossed).level is TrustLevel.DOUBT


def test_adjusted_p_values_are_those_of_statsmodels():
    p = np.random.default_rng(4).beta(0.5, 1, 30)
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])
    with_gap = benjamini_hochberg(np.insert(p, 3, np.nan))
    assert np.isnan(with_gap[3])
    assert np.delete(with_gap, 3) == pytest.approx(benjamini_hochberg(p))


def test_robust_means_are_those_of_scipy():
    rng = np.random.default_rng(5)
    values, arm = np.exp(rng.normal(0, 2, 400)), rng.integers(0, 2, 400)
    ours = trimmed_change(values, arm, trim=0.1).fixed()
    theirs = stats.ttest_ind(values[arm == 1], values[arm == 0], equal_var=False, trim=0.1)
    interval = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    relative = trimmed_change(values, arm, trim=0.1, relative=True)
    base = stats.trim_mean(values[arm == 0], 0.1)
    assert relative.value == pytest.approx(ours.value / base)
    assert "fewer than 10 units" in str(trimmed_change(values[:12], arm[:12]).fixed())
    capped = winsorised({"gmv": values, "clicks": values}, ("gmv",), upper=0.99)
    assert np.sort(capped["gmv"])[-4:] == pytest.approx(np.sort(values)[-4])
    assert (capped["clicks"] == values).all()


def test_quantiles_of_clustered_rows_have_intervals_that_hold():
    """Rows of one unit are alike: 200 logs, nominal coverage; a rows-only interval would hold far less often."""
    rng = np.random.default_rng(6)
    truth, held = float(np.exp(stats.norm.ppf(0.9) * np.sqrt(2))), 0
    for _ in range(200):
        unit = np.repeat(np.arange(300), 5)
        rows = np.exp(rng.normal(0, 1, 300)[unit] + rng.normal(0, 1, 1500))
        estimate = quantile_level(rows, unit, q=0.9)
        held += estimate.low <= truth <= estimate.high
    assert 0.90 <= held / 200 <= 0.99
    arm = (np.arange(300) % 2)[unit]
    moved = quantile_difference(rows + 3 * arm, unit, arm, q=0.5)
    assert moved.low < 3 < moved.high


def test_the_posterior_is_the_one_of_the_grid():
    effect = np.linspace(-0.6, 0.6, 120_001)
    weight = stats.norm.pdf(effect, 0, 0.05) * stats.norm.pdf(0.04, effect, 0.03)
    weight /= weight.sum()
    ours = posterior(0.04, 0.03, 100)
    assert ours.effect.value == pytest.approx(weight @ effect)
    assert ours.better == pytest.approx(weight[effect > 0].sum(), abs=1e-4)
    assert ours.loss == pytest.approx(weight @ np.maximum(-effect, 0), rel=1e-4)
    low, high = (effect[np.searchsorted(weight.cumsum(), tail)] for tail in (0.025, 0.975))
    assert (ours.effect.low, ours.effect.high) == pytest.approx((low, high), abs=1e-4)


def test_an_experiment_without_slates_has_no_units(joined):
    nobody = parse_experiment(FILE.replace("more_clicks", "nobody_here"))
    units = unit_table(joined, nobody)
    assert len(units) == 0
    assert {check.name: check.level for check in trust_checks(units, nobody)}["sample ratio"] is TrustLevel.GOOD
    assert in_experiment(joined.slates.slice(0, 5), nobody)["variant"].null_count == 5
