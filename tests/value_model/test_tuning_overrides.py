"""Overrides while weights are searched: they stay in force, and one scope's weights can be searched alone."""

from dataclasses import replace

import numpy as np
import pytest
from tuning_toy import POLICY, market, served

from value_model.formula.value_policy import Override
from value_model.tuning import Dimension, Estimator, Goal, PolicyScorer, SearchConfig, TuneConfig, tune
from value_model.tuning.overrides import as_applied
from value_model.tuning.predict import exposure_under, request_sums

OWN = {
    "w_gmv": {"surface": (Override("home", 0.01), Override("search", 0.08, 500))},
    "w_new": {"surface": (Override("search", 0.5, 1500),), "segment": (Override("new", 1.0, 500),)},
}
OVERRIDDEN = replace(POLICY, weights=tuple(replace(w, **OWN.get(w.name, {})) for w in POLICY.weights))


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(10)
    log = served(market(rng, requests=600), POLICY, rng)
    return replace(log, segment=np.where(rng.random(600) < 0.5, "new", "loyal"))


def sums_of(policy, evidence):
    """[R, C] of serving the policy, as `predict` has them."""
    exposure = exposure_under(policy, evidence, temperature=None, rng=np.random.default_rng(0))
    sums = request_sums(evidence, exposure, Estimator.DR)
    return np.column_stack([sums[name] for name in PolicyScorer(evidence, policy, estimator=Estimator.DR).names])


def test_overrides_stay_in_force_when_global_weights_are_scored(log) -> None:
    scorer = PolicyScorer(log, OVERRIDDEN, estimator=Estimator.DR)
    weightings = {"w_gmv": np.array([0.002, 0.05, 0.3]), "w_new": np.array([0.01, 0.0, 2.0])}
    sums = scorer.sums(scorer.complete(weightings))
    for i in range(3):
        served_so = OVERRIDDEN.with_weights({name: column[i] for name, column in weightings.items()})
        np.testing.assert_allclose(sums[i], sums_of(served_so, log), rtol=1e-9)


def test_changes_are_against_todays_policy(log) -> None:
    scorer = PolicyScorer(log, POLICY, estimator=Estimator.DR, today=OVERRIDDEN)
    scores = scorer.scores({"w_gmv": np.array([POLICY.weight["w_gmv"].value])})["ctr"]
    click, shown = scorer.names.index("click"), scorer.names.index("shown")
    today, other = (sums_of(policy, log).sum(axis=0) for policy in (OVERRIDDEN, POLICY))
    assert scores.level[0] == pytest.approx(other[click] / other[shown], rel=1e-9)
    assert scores.change[0] == pytest.approx(other[click] / other[shown] - today[click] / today[shown], rel=1e-6)


@pytest.mark.parametrize("surface", ["search", "home"])
def test_a_surface_as_applied_has_its_weights_and_the_segments_overrides(surface) -> None:
    applied = as_applied(OVERRIDDEN, Dimension.SURFACE, surface)
    for segment in ("new", "loyal"):
        expected = OVERRIDDEN.weights_for(surface=surface, segment=segment)
        assert applied.weights_for(surface=surface, segment=segment) == pytest.approx(expected)
    assert applied.with_weights({"w_gmv": 0.2}).weights_for(surface=surface)["w_gmv"] == 0.2


def test_a_segment_as_applied_has_one_weight_for_all_surfaces() -> None:
    applied = as_applied(OVERRIDDEN, Dimension.SEGMENT, "new").with_weights({"w_gmv": 0.2})
    for surface in ("search", "home"):
        assert applied.weights_for(surface=surface, segment="new")["w_gmv"] == 0.2
        assert applied.weights_for(surface=surface, segment="new")["w_new"] == pytest.approx((0.01 + 1.0) / 2)


def test_a_search_starts_from_one_policy_and_is_judged_against_another(log) -> None:
    applied = as_applied(OVERRIDDEN, Dimension.SEGMENT, "new")
    mine = log.take(log.segment == "new")
    batches: list[int] = []
    config = TuneConfig(search=SearchConfig(trials=40, progress=batches.append))
    tuned = tune(mine, applied, Goal("ctr"), today=OVERRIDDEN, config=config)
    assert batches == [16, 16, 8]
    assert (tuned.start, tuned.today) == (applied, OVERRIDDEN)
    first = tuned.scores["ctr"].level[0] - tuned.scores["ctr"].change[0]
    sums = sums_of(OVERRIDDEN, tuned.searched).sum(axis=0)
    names = PolicyScorer(mine, applied, estimator=Estimator.DR).names
    assert first == pytest.approx(sums[names.index("click")] / sums[names.index("shown")], rel=1e-9)
    assert tuned.prediction["ctr"].now.value == pytest.approx(
        np.divide(*sums_of(OVERRIDDEN, tuned.judged).sum(axis=0)[[names.index("click"), names.index("shown")]])
    )
