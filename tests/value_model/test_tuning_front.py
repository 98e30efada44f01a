"""Fronts, shadow prices, sensitivities and the online tuner on problems whose answers are known."""

import numpy as np
import pytest
from tuning_toy import POLICY, market, served, true_scores

from value_model.tuning import (
    BoundKind,
    Constraint,
    Estimator,
    Goal,
    OnlineConfig,
    OnlineTuner,
    PolicyScorer,
    pareto_front,
    sensitivities,
    spread_arms,
)
from value_model.tuning.constraint_prices import envelope, mixture, shadow_price
from value_model.tuning.front import nondominated

CTR = Constraint("ctr", at_least=-0.02, of=BoundKind.RELATIVE)


@pytest.fixture(scope="module")
def truth() -> PolicyScorer:
    """Exact answers: 'direct' on a market whose predictions are the truth."""
    return PolicyScorer(market(np.random.default_rng(0), requests=1500), POLICY, estimator=Estimator.DIRECT)


@pytest.fixture(scope="module")
def grid(truth):
    gmv, new = np.meshgrid(np.geomspace(1e-3, 1, 12), np.geomspace(1e-2, 3, 14))
    weights = {"w_gmv": gmv.ravel(), "w_new": new.ravel()}
    return weights, truth.scores(weights)


def test_nobody_beats_a_member_of_the_front_and_somebody_every_other() -> None:
    levels = np.random.default_rng(1).normal(size=(60, 3)).round(1)
    member = nondominated(levels)
    for i in range(60):
        beaten = any((levels[j] >= levels[i]).all() and (levels[j] > levels[i]).any() for j in range(60))
        assert member[i] == (not beaten)


def test_a_grown_front_is_no_worse_than_a_grid(truth, grid) -> None:
    weights, scores = grid
    start = {name: column[::17] for name, column in weights.items()}
    front = pareto_front(truth, ("gmv", "newcomer_exposure"), start, rng=np.random.default_rng(2))
    levels = np.column_stack([front.scores[m].level for m in front.metrics])
    assert nondominated(levels).all()
    assert (np.diff(levels[:, 0]) >= 0).all()
    for gmv, new in zip(scores["gmv"].level, scores["newcomer_exposure"].level, strict=True):
        assert ((levels[:, 0] >= 0.98 * gmv) & (levels[:, 1] >= 0.98 * new)).any()


def test_the_envelope_of_a_parabola_has_its_slope() -> None:
    x = np.linspace(-1, 1, 201)
    rng = np.random.default_rng(3)
    below = rng.uniform(-1, 1, 500)
    hull = envelope(np.concatenate([x, below]), np.concatenate([-(x**2), -(below**2) - rng.random(500) - 1e-6]))
    assert (hull < 201).all()
    np.testing.assert_allclose(np.sort(x[hull]), x[100:], atol=1e-12)
    assert mixture(x, hull, 0.505) == {150: pytest.approx(0.5), 151: pytest.approx(0.5)}
    assert mixture(x, hull, 1.5) is None
    assert mixture(x, hull, -5.0) == {100: 1.0}


def test_a_tighter_bound_never_costs_less_and_a_slack_one_nothing(truth, grid) -> None:
    weights, scores = grid
    free = float(scores["newcomer_exposure"].level[scores["gmv"].level.argmax()])
    prices = []
    for bound in (free - 0.1, free + 0.02, free + 0.06, free + 0.1, free + 0.14):
        constraint = Constraint("newcomer_exposure", at_least=bound)
        priced = shadow_price(truth, weights, scores, "gmv", constraint, (), rng=np.random.default_rng(4))
        assert priced is not None
        prices.append(priced.price.value)
        assert priced.price.low <= priced.price.value <= priced.price.high
    assert prices[0] == 0
    assert prices == sorted(prices)
    assert prices[-1] > prices[1] > 0
    assert "one more point of newcomer_exposure costs" in str(priced)
    out_of_reach = Constraint("newcomer_exposure", at_least=0.95)
    assert shadow_price(truth, weights, scores, "gmv", out_of_reach, (), rng=np.random.default_rng(4)) is None


def test_the_price_is_what_the_objective_truly_loses(truth, grid) -> None:
    weights, scores = grid
    levels = {m: scores[m].level for m in ("gmv", "newcomer_exposure")}
    low = float(levels["newcomer_exposure"][levels["gmv"].argmax()]) + 0.05

    def reached(bound: float) -> float:
        hull = envelope(levels["newcomer_exposure"], levels["gmv"])
        shares = mixture(levels["newcomer_exposure"], hull, bound)
        assert shares is not None
        return sum(share * levels["gmv"][point] for point, share in shares.items())

    constraint = Constraint("newcomer_exposure", at_least=low)
    priced = shadow_price(truth, weights, scores, "gmv", constraint, (), rng=np.random.default_rng(5), step=0.02)
    assert priced is not None
    assert priced.price.value == pytest.approx((reached(low) - reached(low + 0.02)) / 0.02, rel=1e-6)


def test_sensitivity_has_the_sign_that_the_weight_has(truth) -> None:
    policy = POLICY.with_weights({"w_new": 0.1})
    by_weight = {
        s.weight: s
        for s in sensitivities(truth.evidence, policy, ("w_new", "w_gmv"), objective="gmv", estimator=Estimator.DIRECT)
    }
    assert by_weight["w_new"].per_tenth["newcomer_exposure"].low > 0
    assert by_weight["w_new"].per_tenth["gmv"].value < 0 < by_weight["w_gmv"].per_tenth["gmv"].value
    low, high = by_weight["w_new"].harmless
    assert low <= 1 <= high


def test_arms_start_with_todays_and_keep_to_the_bounds() -> None:
    arms = spread_arms(POLICY, ("w_click", "w_new"), count=33, factor=100.0, rng=np.random.default_rng(6))
    assert (arms["w_click"][0], arms["w_new"][0]) == (1, 0.01)
    assert arms["w_click"].max() <= 10
    logs = np.log(arms["w_new"][1:] / 0.01) / np.log(100)
    assert np.histogram(logs, bins=4, range=(-1, 1))[0].tolist() == [8, 8, 8, 8]


def test_the_online_tuner_finds_a_good_arm_and_never_serves_one_that_breaks_the_guardrail() -> None:
    rng = np.random.default_rng(7)
    arms = spread_arms(POLICY, ("w_gmv", "w_new"), count=33, factor=60.0, rng=rng)
    true = true_scores(market(np.random.default_rng(8), requests=3000), arms)
    assert (true["ctr"].relative < -0.04).any()  # there is something to be kept from
    tuner = OnlineTuner(POLICY, arms, Goal("gmv", (CTR,)), rng=rng, config=OnlineConfig(first=1000))
    drawn = []
    for _ in range(6):
        batch = market(rng, requests=1000)
        drawn.append(tuner.draw(1000))
        arm = {name: column[drawn[-1]] for name, column in arms.items()}
        tuner.learn(served(batch, POLICY, rng, arm=arm))
    assert (drawn[0] == 0).all()
    assert len(np.unique(drawn[-1])) > 1
    assert true["ctr"].relative[np.concatenate(drawn)].min() > -0.02 - 0.015
    allowed = true["ctr"].relative >= -0.02
    assert true["gmv"].level[tuner.leader()] >= 0.97 * true["gmv"].level[allowed].max()
    assert true["gmv"].level[tuner.leader()] > true["gmv"].level[0]
    assert 0 <= tuner.value_remaining() < 0.2
    level = tuner.estimate("ctr", 0)
    assert level.low <= true["ctr"].level[0] <= level.high
    assert tuner.tuned().weight["w_gmv"].value == arms["w_gmv"][tuner.leader()]


def test_an_online_tuner_that_knows_nothing_serves_todays_weights() -> None:
    tuner = OnlineTuner(POLICY, {"w_gmv": np.array([0.002, 0.1])}, Goal("gmv"), rng=np.random.default_rng(9))
    assert (tuner.draw(5) == 0).all()
    with pytest.raises(ValueError, match="nothing was learned yet"):
        tuner.leader()
