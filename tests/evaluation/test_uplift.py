"""Uplift: metrics against scikit-uplift's numbers and slow definitions, learners against effects that are known."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from evaluation import bootstrap
from evaluation.uplift.base_learner import LinearRegression
from evaluation.uplift.choice import coarsest
from evaluation.uplift.gains import gain_sums, normalised_areas
from evaluation.uplift.held_out import held_out_effects
from evaluation.uplift.learners import LEARNERS
from evaluation.uplift.measures import gain_metrics, score_metrics, uplift_calibration
from evaluation.uplift.nuisances import LEAST, Nuisances, cross_fit
from evaluation.uplift.overlap import NoOverlap, arm_overlaps, check_overlap
from evaluation.uplift.policy_value import ArmEconomics, targeting_values
from evaluation.uplift.rate import priority_sums
from evaluation.uplift.targeting import target
from evaluation.uplift.trial import Trial, folds
from value_model.rankers.tree_learner import TRIAL_TREES, TreeLearner, effect_ladder

PEER = json.loads((Path(__file__).parent / "scikit_uplift.json").read_text())["cases"]


def tied(seed, *, rows=40, levels=7, binary=True):
    """Scores with ties, an outcome and who was treated."""
    rng = np.random.default_rng(seed)
    outcome = rng.integers(0, 2, rows).astype(float) if binary else rng.normal(2, 1, rows)
    return rng.integers(0, levels, rows) / 4, outcome, rng.random(rows) < 0.4


def effects_of(x):
    return np.column_stack([0.5 + x[:, 0], x[:, 1] - 0.25])


def trial(rows=3000, *, seed=0, noise=0.0, confounded=False):
    """Two treatments with effects linear in x; with `confounded`, who has more of x[:, 2] is treated more often."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    odds = np.column_stack([np.zeros(rows), *(0.8 * confounded * x[:, 2] for _ in range(2))])
    propensity = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    arm = (rng.random((rows, 1)) > propensity.cumsum(axis=1)).sum(axis=1)
    effects = np.column_stack([np.zeros(rows), effects_of(x)])
    outcome = 2 * x[:, 2] + effects[np.arange(rows), arm] + noise * rng.normal(size=rows)
    return Trial(x, arm, outcome, ("control", "mens", "womens"), propensity=propensity)


@pytest.mark.parametrize("name", PEER)
def test_curves_and_areas_equal_scikit_uplift(name):
    case = PEER[name]
    score, outcome, treated = (np.array(case[key]) for key in ("score", "outcome", "treated"))
    areas = normalised_areas(score, outcome, treated == 1)
    steps = areas.model()
    np.testing.assert_allclose(areas(steps), [case["qini"], case["auuc"]], rtol=0, atol=1e-9)
    np.testing.assert_allclose(steps.qini, case["qini_curve"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(steps.uplift, case["uplift_curve"], rtol=0, atol=1e-9)
    for share in (10, 30, 50) if name != "ties" else ():
        assert steps.uplift_at(share / 100) == pytest.approx(case[f"uplift_at_{share}"], abs=1e-9)


def test_a_score_that_tells_nothing_is_exactly_0_in_every_sample():
    _, outcome, treated = tied(1, rows=301, binary=False)
    samples = bootstrap.resample(301, np.random.default_rng(0), replicates=30)
    same = np.full(301, 0.7)
    metrics = gain_metrics(same, outcome, treated, samples=samples) | score_metrics(same, outcome, samples=samples)
    for name in ("qini", "auuc", "autoc", "rate_qini"):
        assert metrics[name].value == 0
        assert (metrics[name].draws == 0).all(), name
    assert metrics["uplift@30%"].value == pytest.approx(outcome[treated].mean() - outcome[~treated].mean())
    assert np.isnan(metrics["slope"].value)


def test_models_of_the_same_order_have_the_same_scores_exactly():
    score, outcome, treated = tied(2, rows=400)
    samples = bootstrap.resample(400, np.random.default_rng(0), replicates=20)
    one = gain_metrics(score, outcome, treated, samples=samples)
    other = gain_metrics(np.exp(3 * score) - 9, outcome, treated, samples=samples)
    shuffle = np.random.default_rng(3).permutation(400)
    moved = normalised_areas(score[shuffle], outcome[shuffle], treated[shuffle])
    assert [one[name].value for name in ("qini", "auuc")] == list(moved(moved.model()))
    for name, metric in one.items():
        difference = metric - other[name]
        assert difference.value == 0
        assert (difference.draws == 0).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("binary", [True, False])
def test_a_weight_is_so_many_rows(seed, binary):
    score, outcome, treated = tied(seed, binary=binary)
    propensity = np.random.default_rng(seed).uniform(0.2, 0.8, len(score)) if seed % 2 else None
    weight = np.random.default_rng(seed).integers(0, 4, len(score)).astype(np.uint16)
    again = np.repeat(np.arange(len(score)), weight)
    areas = normalised_areas(score, outcome, treated, propensity=propensity)
    repeated = normalised_areas(
        score[again], outcome[again], treated[again], propensity=None if propensity is None else propensity[again]
    )
    steps, same = areas.model(weight), repeated.model()
    np.testing.assert_allclose(areas(steps, weight), repeated(same), rtol=1e-12)
    assert steps.uplift_at(0.3) == pytest.approx(same.uplift_at(0.3), rel=1e-12)
    np.testing.assert_allclose(
        priority_sums(score, outcome)(weight), priority_sums(score[again], outcome[again])(), rtol=1e-10, atol=1e-14
    )


@pytest.mark.parametrize("seed", range(3))
def test_rate_is_the_mean_over_shares_of_what_the_first_have_above_all(seed):
    score, value, _ = tied(seed, binary=False)
    order = np.argsort(-score)
    tie_mean = np.array([value[score == s].mean() for s in score[order]])
    n = len(score)
    above = [tie_mean[: j + 1].mean() - value.mean() for j in range(n)]
    expected = np.mean(above), np.mean([(j + 1) / n * above[j] for j in range(n)])
    np.testing.assert_allclose(priority_sums(score, value)(), expected, rtol=1e-10)


def test_curves_by_arithmetic():
    """Two treated (1, 0) and two control (0, 1) rows; the last two tie."""
    steps = gain_sums(
        np.array([3.0, 2.0, 1.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0]), np.array([True, False, True, False])
    )()
    assert steps.qini.tolist() == [0, 1, 1 - 0 * 1 / 1, 1 - 1 * 2 / 2]
    assert steps.uplift.tolist() == [0, 1, (1 - 0) * 2, (1 / 2 - 1 / 2) * 4]
    assert steps.uplift_at(0.75) == 1 / 1.5 - 0.5 / 1.5


@pytest.mark.parametrize("name", ["T", "X", "R", "DR"])
def test_learners_find_linear_effects_that_no_noise_hides(name):
    """S cannot with a linear base: it has no product of feature and arm."""
    known = trial(confounded=True)
    estimated = Trial(known.table, known.arm, known.outcome, known.arms)
    for data in (known, estimated):
        fit = cross_fit(data, LinearRegression(ridge=1e-12), np.random.default_rng(0))
        predicted = LEARNERS[name](data, fit, LinearRegression(ridge=1e-12)).predict(data.table[:50])
        np.testing.assert_allclose(predicted, effects_of(data.table[:50]), atol=1e-6)


class ByArm:
    """A base learner for S: least squares with the products of features and arms."""

    def __init__(self, features):
        self.features = features

    def _wide(self, table):
        x, arms = table[:, : self.features], table[:, self.features :]
        return np.column_stack([table, *(x * arm[:, None] for arm in arms.T)])

    def fit(self, table, target, *, weight=None):
        self.linear = LinearRegression(ridge=1e-12).fit(self._wide(table), target)
        return self

    def predict(self, table):
        return self.linear.predict(self._wide(table))


def test_s_learner_finds_what_its_base_can_say():
    data = trial()
    fit = cross_fit(data, LinearRegression(), np.random.default_rng(0), count=2)
    predicted = LEARNERS["S"](data, fit, ByArm(3)).predict(data.table[:50])
    np.testing.assert_allclose(predicted, effects_of(data.table[:50]), atol=1e-6)


@pytest.mark.parametrize("wrong", ["outcome", "propensity", "both"])
def test_scores_are_right_where_outcomes_or_propensities_are(wrong):
    data = trial(40_000, noise=0.5, confounded=True)
    mu = np.column_stack([np.zeros(len(data.arm)), effects_of(data.table)]) + 2 * data.table[:, 2:]
    outcome = np.zeros_like(mu) if wrong != "propensity" else mu
    propensity = np.full_like(mu, 1 / 3) if wrong != "outcome" else data.propensity
    error = Nuisances(outcome, propensity).scores(data).mean(axis=0) - effects_of(data.table).mean(axis=0)
    assert (np.abs(error) < 0.06).all() == (wrong != "both"), error


def test_no_row_teaches_its_own_nuisances_and_units_stay_together():
    unit = np.repeat(np.arange(30), 4)
    fold = folds(unit, np.random.default_rng(0), count=3)
    assert all(len(set(fold[unit == u])) == 1 for u in range(30))
    assert np.bincount(fold).tolist() == [40, 40, 40]

    class Memory:  # answers 1 for rows that it was fitted on
        def fit(self, table, target, *, weight=None):
            self.seen = set(table[:, 0].tolist())
            return Remembered(self.seen)

    class Remembered:
        def __init__(self, seen):
            self.seen = seen

        def predict(self, table):
            return np.array([float(key in self.seen) for key in table[:, 0]])

    data = Trial(unit[:, None].astype(float), np.tile([0, 1, 1, 0], 30), np.ones(120), unit=unit)
    fit = cross_fit(data, Memory(), np.random.default_rng(0), count=3)
    assert (fit.held_out.outcome == 0).all()
    assert (fit.held_out.propensity == [1 - LEAST, LEAST]).all()


def test_overlap_is_warned_of_and_refused_with_figures():
    arm = np.tile([0, 1], 500)
    fair = np.full((1000, 2), 0.5)
    assert check_overlap(arm_overlaps(arm, fair, arms=("control", "coupon"))) == []
    thin = fair.copy()
    thin[:20] = [0.995, 0.005]
    warnings = check_overlap(arm_overlaps(arm, thin, arms=("control", "coupon")))
    assert any("coupon: propensity 0.005 to 0.5, 2.00% of rows" in text for text in warnings), warnings
    thin[:200] = [0.995, 0.005]
    with pytest.raises(NoOverlap, match=r"coupon: propensity 0\.005 to 0\.5, 20\.00% of rows"):
        check_overlap(arm_overlaps(arm, thin, arms=("control", "coupon")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arm": np.array([0, 1, 3])}, "arm: row 2 is 3; numbers go from 0 to 1"),
        ({"arm": np.zeros(3, int)}, r"no row received \['treated'\]; there are 3 control, 0 treated"),
        ({"outcome": np.array([0, np.nan, 1])}, "outcome: row 1 is nan"),
        ({"propensity": np.array([[1, 0], [0.5, 0.5], [0.5, 0.5]])}, "propensity: row 0 is 0.0; a unit that could"),
        ({"propensity": np.full((3, 3), 1 / 3)}, r"propensity: 3 columns; the arms are"),
        ({"table": np.zeros((2, 1))}, "columns: {'table': 2, 'arm': 3"),
    ],
)
def test_trials_that_cannot_be_read_are_refused(changes, message):
    row = {"table": np.zeros((3, 1)), "arm": np.array([0, 1, 1]), "outcome": np.array([0.0, 1.0, 1.0])}
    with pytest.raises(ValueError, match=message):
        Trial(**row | changes)


def test_predictions_that_are_no_numbers_are_refused():
    samples = bootstrap.resample(3, np.random.default_rng(0), replicates=2)
    with pytest.raises(ValueError, match="predicted: row 1 is nan"):
        gain_metrics(np.array([0, np.nan, 1]), np.zeros(3), np.array([True, False, True]), samples=samples)


@pytest.mark.parametrize("seed", range(8))
def test_targeting_is_nearly_the_best_that_any_choice_reaches(seed):
    """Against all 3^6 choices: within the budget, and short of the best by less than the gain of one unit."""
    rng = np.random.default_rng(seed)
    gain, cost = rng.normal(1, 1.5, (6, 2)), rng.uniform(0.2, 1.5, (6, 2))
    choices = np.array(list(product(range(3), repeat=6)))
    padded = [np.column_stack([np.zeros(6), amount]) for amount in (gain, cost)]
    gains, costs = (amount[np.arange(6), choices].sum(axis=1) for amount in padded)
    for budget in (0.0, 0.9, 2.5, np.inf):
        chosen = target(gain, cost, budget=budget)
        best = (gains - costs)[costs <= budget + 1e-12].max()
        assert chosen.cost <= budget + 1e-12
        assert chosen.gain - chosen.cost >= best - np.maximum(gain - cost, 0).max() - 1e-12
        bound = (gains - (1 + chosen.price) * costs).max() + chosen.price * budget if chosen.price else best
        assert best <= bound + 1e-9  # no choice beats the Lagrangian at this price
    assert target(gain, cost).gain - target(gain, cost).cost == pytest.approx((gains - costs).max())


def test_equal_costs_treat_those_who_gain_most_and_ties_fill_the_budget():
    gain = np.array([[3.0], [1.0], [2.0], [2.0], [2.0]])
    assert target(gain, np.full((5, 1), 0.5), budget=1.5).arm.tolist() == [1, 0, 1, 1, 0]
    assert target(gain, np.full((5, 1), 0.5), budget=0.4).arm.tolist() == [0, 0, 0, 0, 0]
    assert target(gain, np.full((5, 1), 2.5)).arm.tolist() == [1, 0, 0, 0, 0]
    with pytest.raises(ValueError, match=r"cost: row 1 is -1\.0"):
        target(gain[:2], np.array([[1.0], [-1.0]]))


def test_the_value_of_targeting_covers_the_truth():
    data = trial(6000, seed=5, noise=1.0, confounded=True)
    rows, effects = len(data.arm), effects_of(data.table)
    fit = cross_fit(data, LinearRegression(), np.random.default_rng(0))
    cost = np.tile([0.0, 0.3, 0.2], (rows, 1))
    chosen = target(effects, cost[:, 1:], budget=0.1 * rows)
    choices = {"targeted": chosen.arm, "nobody": np.zeros(rows, int)}
    values = targeting_values(
        data, fit.held_out, choices, economics=ArmEconomics(1.0, cost), rng=np.random.default_rng(0)
    )
    truth = (chosen.gain - chosen.cost) / rows
    gain = values["targeted"].gain
    assert gain.low <= truth <= gain.high
    assert gain.high - gain.low < 0.2
    assert values["nobody"].gain.value == 0
    assert values["targeted"].cost == pytest.approx(0.1, abs=1e-3)


def test_true_effects_are_calibrated_and_exaggerated_ones_are_not():
    data = trial(4000, seed=6, noise=1.0)
    scores = cross_fit(data, LinearRegression(), np.random.default_rng(0)).held_out.scores(data)[:, 0]
    truth, samples = effects_of(data.table)[:, 0], bootstrap.resample(4000, np.random.default_rng(0), replicates=100)
    for stretch in (1, 2):
        metrics = {name: m.estimate() for name, m in score_metrics(stretch * truth, scores, samples=samples).items()}
        assert metrics["slope"].low <= 1 / stretch <= metrics["slope"].high
    curve = uplift_calibration(truth, scores, samples=samples)
    assert ((curve.low <= curve.x) & (curve.x <= curve.high)).sum() >= 8
    assert curve.rows.tolist() == [400] * 10


def test_boosted_trees_are_a_base_learner_and_a_target_of_0_and_1_a_probability():
    rng = np.random.default_rng(0)
    table = np.column_stack([rng.normal(size=4000), rng.integers(0, 4, 4000)])
    rate = np.where(table[:, 1] == 2, 0.8, 0.2)
    learner = TreeLearner(frozenset({1}), replace(TRIAL_TREES, trees=60, min_rows=50))
    event = learner.fit(table, (rng.random(4000) < rate).astype(float)).predict(table)
    assert ((event > 0) & (event < 1)).all()
    assert np.abs(event - rate).mean() < 0.05
    weight = np.where(np.arange(4000) % 2, 1.0, 1e-6)  # rows that hardly count change nothing
    number = learner.fit(table, np.where(weight == 1, 5 * rate, -9), weight=weight).predict(table)
    assert np.abs(number - 5 * rate).mean() < 0.2


class Level:
    """One number for everybody: the coarsest regression."""

    def fit(self, table, target, *, weight=None):
        return LinearRegression(ridge=1e9).fit(table, target)


@pytest.mark.parametrize(("spread", "finest"), [(0.0, False), (0.2, False), (3.0, True)])
def test_effects_are_learned_as_finely_as_held_out_rows_bear(spread, finest):
    """Of units twice over: were the copy of a row held out from itself, a fine regression would seem to know it."""
    rng = np.random.default_rng(1)
    table, arm = rng.normal(size=(300, 20)), rng.integers(0, 2, 300)
    outcome = arm * spread * table[:, 0] + rng.normal(size=300) * 2
    twice = Trial(
        *(np.repeat(part, 2, axis=0) for part in (table, arm, outcome)),
        propensity=np.full((600, 2), 0.5),
        unit=np.repeat(np.arange(300), 2),
    )
    fit, ladder = cross_fit(twice, Level(), rng), (Level(), LinearRegression())
    assert coarsest(twice, fit, ladder, rng) is ladder[int(finest)]
    learners = {name: LEARNERS[name] for name in ("S", "DR")}
    answers = held_out_effects(twice, LinearRegression(), rng, ladder=ladder, learners=learners, parts=2)
    alike = [np.ptp(answers.effects[name][answers.part == 0]) < 1e-3 for name in ("DR", "S")]
    assert alike == [not finest, True]
    trees = effect_ladder(frozenset({1}))
    assert [rung.config.leaves for rung in trees] == [4, 6, 8]
    assert trees[-1] == TreeLearner(frozenset({1}))


def test_levels_of_different_models_are_not_set_against_each_other():
    """Two models that know nothing but a level each; together they would seem to order the parts."""
    _, outcome, treated = tied(4, rows=301)
    part = np.arange(301) % 2
    samples = bootstrap.resample(301, np.random.default_rng(0), replicates=5)
    by_part = gain_metrics(0.1 * part, outcome, treated, samples=samples, part=part)
    by_part |= score_metrics(0.1 * part, outcome - part, samples=samples, part=part)
    assert [by_part[name].value for name in ("qini", "auuc", "autoc", "rate_qini")] == [0, 0, 0, 0]
    assert np.isnan(by_part["slope"].value)
    assert gain_metrics(0.1 * part, outcome, treated, samples=samples)["qini"].value != 0


def test_held_out_effects_are_of_models_that_saw_other_units():
    data = trial(400, noise=0.1)
    data = replace(data, unit=np.arange(400) // 2)
    answers = held_out_effects(data, LinearRegression(), np.random.default_rng(0), learners={"T": LEARNERS["T"]})
    assert answers.warnings == ()
    assert set(answers.part) == {0, 1, 2, 3}
    for number in range(4):
        inside = answers.part == number
        assert not set(data.units[inside]) & set(data.units[~inside])
        fitted = LEARNERS["T"](data.part(~inside), None, LinearRegression()).predict(data.table[inside])
        np.testing.assert_array_equal(answers.effects["T"][inside], fitted)
