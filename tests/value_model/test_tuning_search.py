"""Tuning finds known optima, keeps constraints that it promises, refuses the rest, and resumes."""

from dataclasses import replace

import numpy as np
import pytest
from tuning_toy import POLICY, market, served, true_scores

from value_model.formula.value_policy import Override
from value_model.tuning import (
    STANDARD,
    BoundKind,
    Constraint,
    Dimension,
    Estimator,
    Goal,
    Metric,
    PolicyScorer,
    PredictConfig,
    SearchConfig,
    TuneConfig,
    equal_contribution,
    predict,
    shadow_prices,
    tune,
    tune_overrides,
)
from value_model.tuning.constraint import slack
from value_model.tuning.search import Search
from value_model.tuning.tune import judge, rebased, shortlist
from value_model.tuning.weight_ranges import ranges

CTR = Constraint("ctr", at_least=-0.05, of=BoundKind.RELATIVE)
NEW = Constraint("newcomer_exposure", at_least=0.25)
QUICK = TuneConfig(search=SearchConfig(trials=64))


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(0)
    return served(market(rng, requests=8000, wrong=0.3), POLICY, rng)


@pytest.fixture(scope="module")
def truth():
    return market(np.random.default_rng(1), requests=6000, wrong=0.3)


def best_by_grid(truth, goal: Goal) -> float:
    """The highest true level of the objective on a fine grid of ratios, constraints held."""
    gmv, new = np.meshgrid(np.geomspace(1e-3, 1, 25), np.geomspace(1e-3, 5, 20))
    scores = true_scores(truth, {"w_gmv": gmv.ravel(), "w_new": new.ravel()})
    held = np.all([slack(c, scores[c.metric], z=0) >= 0 for c in goal.constraints], axis=0)
    return float(scores[goal.maximise].level[held].max())


@pytest.mark.slow
def test_small_losses_do_not_add_up_against_the_baseline(log, truth):
    """A second search from what the first one spent keeps to what is left of it."""
    first = tune(log, POLICY, Goal("gmv", (CTR,)), config=QUICK).policy
    tuned = tune(log, first, Goal("gmv", (CTR,), baseline=POLICY), config=QUICK)
    same = predict(tuned.judged, POLICY, POLICY, rng=np.random.default_rng(0), estimator=tuned.estimator)
    assert tuned.verdict.held["ctr"].now.value == same["ctr"].now.value != tuned.prediction["ctr"].now.value
    true = predict(truth, POLICY, tuned.policy, rng=np.random.default_rng(2), estimator=Estimator.DIRECT)
    assert true["ctr"].relative.value >= -0.05


def test_what_was_lost_since_the_baseline_is_used_up(log):
    since = predict(log, POLICY, {"w_gmv": 0.2}, rng=np.random.default_rng(0))
    change, absolute = since["ctr"], Constraint("newcomer_exposure", at_least=-0.01, of=BoundKind.CHANGE)
    moved = rebased((CTR, NEW, absolute), since)
    assert 1 + moved[0].bound == pytest.approx(0.95 * change.now.value / change.proposed.value)
    assert moved[1] == NEW
    assert moved[2].bound == pytest.approx(-0.01 - since["newcomer_exposure"].difference.value)


@pytest.mark.slow
@pytest.mark.parametrize("goal", [Goal("gmv", (CTR,)), Goal("gmv", (CTR, NEW))])
def test_the_chosen_weights_are_near_the_true_optimum_and_keep_the_constraints(log, truth, goal) -> None:
    tuned = tune(log, POLICY, goal, config=QUICK)
    assert tuned.promised
    true = predict(truth, POLICY, tuned.policy, rng=np.random.default_rng(2), estimator=Estimator.DIRECT)
    assert true["gmv"].proposed.value >= 0.93 * best_by_grid(truth, goal)
    assert NEW in goal.constraints or true["gmv"].relative.value > 0.02
    assert true["ctr"].relative.value >= -0.05
    if NEW in goal.constraints:
        assert true["newcomer_exposure"].proposed.value >= 0.25
        assert true["newcomer_exposure"].now.value < 0.25


def test_the_promise_is_made_on_requests_that_the_search_did_not_see(log) -> None:
    tuned = tune(log, POLICY, Goal("gmv", (CTR,)), config=QUICK)
    assert len(tuned.searched) + len(tuned.judged) == len(log)
    assert not set(tuned.searched.unit) & set(tuned.judged.unit)
    assert tuned.prediction["gmv"].difference.n == len(tuned.judged)


def test_searching_noise_promises_nothing(log) -> None:
    """Where weights do not matter the search half still has a luckiest weighting; the judging half knows better."""
    idle = replace(POLICY, weights=tuple(replace(w, low=w.value * 0.999, high=w.value * 1.001) for w in POLICY.weights))
    tuned = tune(log, idle, Goal("gmv", (Constraint("gmv", at_least=0.01, of=BoundKind.RELATIVE),)), config=QUICK)
    assert not tuned.promised
    assert tuned.policy == idle


def test_what_cannot_be_had_is_refused_and_todays_weights_stay(log) -> None:
    tuned = tune(log, POLICY, Goal("gmv", (Constraint("newcomer_exposure", at_least=0.9),)), config=QUICK)
    assert tuned.problems == ("no weights were found that beat today's and keep the constraints",)
    assert tuned.policy is POLICY


def test_a_log_without_randomness_is_tuned_but_promised_nothing(log) -> None:
    tuned = tune(replace(log, exposure=None), POLICY, Goal("gmv", (CTR,)), config=QUICK)
    assert tuned.estimator is Estimator.DIRECT
    assert tuned.policy is POLICY
    assert any("not randomised" in problem for problem in tuned.problems)
    assert tuned.prediction.experiment is not None
    assert tuned.prediction.experiment.arms[-1] != POLICY.weights_for()


def test_what_is_not_proven_comes_with_the_experiment_that_would_tell() -> None:
    rng = np.random.default_rng(6)
    small = served(market(rng, requests=700, wrong=0.3), POLICY, rng)
    strict = Constraint("ctr", at_least=0.0, of=BoundKind.RELATIVE)
    other = POLICY.with_weights({"w_gmv": 0.05})
    verdict = judge(small, POLICY, Goal("gmv", (strict,)), [other], estimator=Estimator.DR, seed=0, config=QUICK)
    assert verdict.policy is POLICY
    assert verdict.problems[0] == "not proven on fresh requests: relative change of ctr at least 0 at 95%"
    assert verdict.experiment is not None
    assert verdict.experiment.arms[-1]["w_gmv"] == 0.05
    assert verdict.experiment.requests_per_arm > len(small)


def test_mistakes_are_named(log) -> None:
    with pytest.raises(ValueError, match=r"goal speaks of \['profit'\]"):
        tune(log, POLICY, Goal("profit"))
    without = replace(log, feedback={name: column for name, column in log.feedback.items() if name != "gmv"})
    with pytest.raises(ValueError, match=r"goal speaks of \['gmv'\]; the log tells of \['ctr'"):
        tune(without, POLICY, Goal("gmv"))
    with pytest.raises(ValueError, match=r"names hold \['w_x'\]"):
        tune(log, POLICY, Goal("gmv"), names=("w_x",))
    with pytest.raises(ValueError, match="at_least or at_most"):
        Constraint("ctr")
    with pytest.raises(ValueError, match="nothing to split"):
        tune(log.take(np.arange(2)), POLICY, Goal("gmv"))


def test_a_search_goes_on_where_it_stopped(log, tmp_path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"

    def run(trials: int):
        search = SearchConfig(trials=trials, storage=storage)
        return tune(log, POLICY, Goal("gmv", (CTR,)), config=TuneConfig(search=search)).tried

    first, second, third = run(8), run(16), run(16)
    for name in first:
        assert len(second[name]) == 16
        assert (second[name][:8] == first[name]).all()
        assert (third[name] == second[name]).all()


def test_more_trials_never_find_less(log) -> None:
    scorer = PolicyScorer(log, POLICY, estimator=Estimator.DR)
    start = equal_contribution(POLICY, log, ("w_click", "w_gmv"))
    search = Search(
        scorer,
        ranges(POLICY, start),
        objective="gmv",
        constraints=(),
        config=SearchConfig(trials=48),
        seed=0,
    )
    tried = search.run([start])
    assert list(tried) == ["w_click", "w_gmv"]
    gain = scorer.scores(tried)["gmv"].level
    assert gain[:16].max() <= gain.max()
    assert gain.max() > gain[0]


def test_equal_contribution_moves_slates_equally(log) -> None:
    start = equal_contribution(POLICY, log, ("w_click", "w_gmv", "w_new"))
    mask, columns = log.slates.mask, log.slates.columns
    moved = []
    for weight, name in (("w_click", "ctr"), ("w_gmv", "gmv"), ("w_new", "newness")):
        part = np.ma.masked_array(start[weight] * columns[name], ~mask)
        moved.append(np.sqrt((((part - part.mean(axis=1, keepdims=True)) ** 2).sum()) / mask.sum()))
    np.testing.assert_allclose(moved, moved[0], rtol=1e-6)


def test_finalists_go_from_the_safest_to_the_boldest(log) -> None:
    scorer = PolicyScorer(log, POLICY, estimator=Estimator.DR)
    tried = {"w_gmv": np.geomspace(0.001, 0.2, 40)}
    scores = scorer.scores(tried)
    finalists = shortlist(scorer, tried, scores, Goal("gmv", (CTR,)), QUICK)
    left = [float(slack(CTR, scorer.scores({k: np.array([v]) for k, v in f.items()})["ctr"])[0]) for f in finalists]
    assert len(finalists) > 1
    assert left == sorted(left, reverse=True)


def test_a_metric_of_the_callers_own_is_searched_by_surface_and_priced(log) -> None:
    own = Metric("gmv_per_look", "gmv", "examined")
    config = TuneConfig(search=SearchConfig(trials=16), predict=PredictConfig(metrics=(*STANDARD, own)))
    tuned = tune_overrides(log, POLICY, Goal(own.name, (NEW,)), dimension=Dimension.SURFACE, config=config)
    assert tuned.prediction[own.name].metric == own
    (price,) = shadow_prices(tuned, rng=np.random.default_rng(0))
    assert price.objective == own.name


@pytest.mark.slow
def test_surfaces_that_want_different_weights_get_them() -> None:
    """Where the gmv head says nothing it must not count; where it is good it must."""
    rng = np.random.default_rng(4)
    truth = market(rng, requests=8000, misled="home")
    log, goal = served(truth, POLICY, rng, temperature=0.2), Goal("gmv")
    config = TuneConfig(search=SearchConfig(trials=32))
    tuned = tune_overrides(log, POLICY, goal, dimension=Dimension.SURFACE, config=config)
    applied = {name: tuned.policy.weights_for(surface=name) for name in ("home", "search")}
    assert applied["search"]["w_gmv"] / applied["search"]["w_click"] > 2 * (
        applied["home"]["w_gmv"] / applied["home"]["w_click"]
    )
    globally = tune(log, POLICY, goal, config=config)
    reached = [
        predict(truth, POLICY, p, rng=rng, estimator=Estimator.DIRECT)["gmv"].proposed.value
        for p in (tuned.policy, globally.policy)
    ]
    assert reached[0] > reached[1]
    override = tuned.policy.weight["w_gmv"].surface[0]
    assert override.evidence == (tuned.searched.slates.surface == override.key).sum()


def test_a_weighting_is_scored_as_the_policy_that_would_serve_it() -> None:
    rng = np.random.default_rng(9)
    evidence = served(market(rng, requests=400), POLICY, rng)
    evidence = replace(evidence, segment=np.where(np.arange(400) % 3 == 0, "new", "old"))
    overrides = {
        "surface": (Override("search", 0.01, 800), Override("home", 0.0)),
        "segment": (Override("new", 0.004, 500),),
    }
    weights = tuple(replace(w, **overrides) if w.name == "w_gmv" else w for w in POLICY.weights)
    policy = replace(POLICY, weights=weights)
    scorer = PolicyScorer(evidence, policy, estimator=Estimator.DR)
    scores = scorer.scores({"w_gmv": np.array([0.002, 0.05]), "w_new": np.array([0.01, 0.3])})
    assert scores["gmv"].change[0] == 0  # today's
    tried = policy.with_weights({"w_gmv": 0.05, "w_new": 0.3})
    expected = predict(evidence, policy, tried, rng=rng, estimator=Estimator.DR)
    for name, change in expected.changes.items():
        assert scores[name].change[1] == pytest.approx(change.difference.value, rel=1e-9, abs=1e-12)
