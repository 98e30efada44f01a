"""Off-policy estimators over single decisions: the formulas, their unbiasedness, their intervals' coverage."""

import numpy as np
import pytest

from evaluation.counterfactual import decisions, intervals
from evaluation.counterfactual.decisions import EstimatorConfig, all_terms, evaluate_policy, policy_values, read
from evaluation.counterfactual.intervals import IntervalConfig
from evaluation.counterfactual.terms import Terms, influence

CONFIG = EstimatorConfig(clip=2.0, switch=1.5, shrinkage=3.0)
GROUPS = np.array([0, 0, 1, 1, 2])


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def market(rng, n, *, sharpness=1.0):
    """Contexts x, a logging policy, a policy asked about and the true click rates: [n, 5] each."""
    x = rng.normal(size=(n, 3))
    taste = np.random.default_rng(99).normal(size=(3, 5))
    rate = 1 / (1 + np.exp(2 - x @ taste))
    return softmax(0.5 * x @ taste), softmax(sharpness * x @ taste), rate


def logged(rng, n, *, sharpness=1.0):
    logging, policy, rate = market(rng, n, sharpness=sharpness)
    action = (rng.random((n, 1)) > np.cumsum(logging, axis=1)[:, :-1]).sum(axis=1)
    reward = (rng.random(n) < rate[np.arange(n), action]).astype(float)
    model = np.clip(rate + rng.normal(0, 0.05, rate.shape), 0, 1)
    return reward, action, logging, policy, model, rate


def oracle(reward, action, logging, policy, model):
    """Every estimator row by row, as the papers write it."""
    n, out = len(reward), dict.fromkeys(("ips", "clipped_ips", "dm", "dr", "switch_dr", "shrunk_dr", "mips"), 0.0)
    weighted, weights, corrected = 0.0, 0.0, 0.0
    for i in range(n):
        a, r = action[i], reward[i]
        w = policy[i, a] / logging[i, a]
        v = sum(policy[i, b] * model[i, b] for b in range(5))
        mass = [sum(p[i, b] for b in range(5) if GROUPS[b] == GROUPS[a]) for p in (policy, logging)]
        out["ips"] += w * r / n
        out["clipped_ips"] += min(w, CONFIG.clip) * r / n
        out["dm"] += v / n
        out["dr"] += (v + w * (r - model[i, a])) / n
        out["switch_dr"] += (v + (w * (r - model[i, a]) if w <= CONFIG.switch else 0)) / n
        out["shrunk_dr"] += (v + CONFIG.shrinkage * w / (w * w + CONFIG.shrinkage) * (r - model[i, a])) / n
        out["mips"] += mass[0] / mass[1] * r / n
        weighted, weights, corrected = weighted + w * r, weights + w, corrected + w * (r - model[i, a])
    return out | {"snips": weighted / weights, "sndr": out["dm"] + corrected / weights}


def read_market(rng, n, **options):
    reward, action, logging, policy, model, rate = logged(rng, n, **options)
    propensity = logging[np.arange(n), action]
    log = read(reward, action, propensity, policy, model=model, groups=GROUPS, logging=logging)
    return log, (policy * rate).sum(axis=1).mean()


def test_every_estimator_equals_the_row_by_row_oracle():
    rng = np.random.default_rng(0)
    reward, action, logging, policy, model, _ = logged(rng, 2000)
    log = read(reward, action, logging[np.arange(2000), action], policy, model=model, groups=GROUPS, logging=logging)
    ours, expected = policy_values(log, config=CONFIG), oracle(reward, action, logging, policy, model)
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name


def test_ips_and_dr_are_exactly_unbiased_for_any_model():
    rng = np.random.default_rng(1)
    logging, policy, rate = market(rng, 50)
    truth, expectation = (policy * rate).sum(axis=1).mean(), {}
    model = rng.random(rate.shape)  # a wrong model: DR must not mind
    for a in range(5):  # the mean over everything the log could have held
        for r in (0.0, 1.0):
            log = read(np.full(50, r), np.full(50, a), logging[:, a], policy, model=model)
            chance = logging[:, a] * (rate[:, a] if r else 1 - rate[:, a])
            for name in ("ips", "dr"):
                base, _, correction, _ = getattr(decisions, name)(log, CONFIG).columns.T
                expectation[name] = expectation.get(name, 0) + (chance * (base + correction)).mean()
    assert expectation == pytest.approx({"ips": truth, "dr": truth}, abs=1e-12)


def test_mips_is_exactly_unbiased_when_reward_depends_on_the_group():
    rng = np.random.default_rng(2)
    logging, policy, _ = market(rng, 40)
    rate = rng.random((40, 3))[:, GROUPS]
    expectation = 0.0
    for a in range(5):
        log = read(rate[:, a], np.full(40, a), logging[:, a], policy, groups=GROUPS, logging=logging)
        expectation += (logging[:, a] * decisions.mips(log, CONFIG).correction).mean()
    assert expectation == pytest.approx((policy * rate).sum(axis=1).mean(), abs=1e-12)


def test_a_good_model_lowers_the_error_of_dr_below_that_of_ips():
    rng, errors = np.random.default_rng(3), {"ips": [], "dr": []}
    for _ in range(40):
        log, truth = read_market(rng, 500, sharpness=2.0)
        for name in errors:
            errors[name].append((policy_values(log)[name] - truth) ** 2)
    assert np.mean(errors["dr"]) < 0.8 * np.mean(errors["ips"])


@pytest.mark.slow
@pytest.mark.parametrize("sharpness", [1.0, 2.0])
def test_intervals_cover_the_truth_at_their_rate(sharpness):
    rng, runs, truth = np.random.default_rng(4), 150, truth_of(sharpness)
    covered = dict.fromkeys(("ips", "snips", "dr", "sndr"), 0)
    for _ in range(runs):
        log, _ = read_market(rng, 600, sharpness=sharpness)
        for name, terms in all_terms(log):
            if name in covered:
                estimate = intervals.interval(terms, rng=rng, config=IntervalConfig(replicates=400))
                covered[name] += estimate.low <= truth <= estimate.high
    for name, times in covered.items():
        assert 0.89 <= times / runs <= 0.995, (name, times / runs)


def truth_of(sharpness):
    _, policy, rate = market(np.random.default_rng(100), 200_000, sharpness=sharpness)
    return (policy * rate).sum(axis=1).mean()


def test_the_interval_is_chosen_by_the_data_and_says_why():
    rng = np.random.default_rng(5)
    even = intervals.interval(Terms(rng.random(5000)), rng=rng, config=IntervalConfig())
    rare = intervals.interval(Terms((rng.random(5000) < 0.01) * 1.0), rng=rng, config=IntervalConfig())
    lone = intervals.interval(Terms(np.eye(1, 5000)[0]), rng=rng, config=IntervalConfig())
    assert (even.method, rare.method, lone.method) == ("asymptotic", "bootstrap", "empirical Bernstein")
    assert "close to normal" in even.reason
    assert "skewness" in rare.reason
    assert "1 effective units" in lone.reason
    assert lone.high - lone.low > 4 * lone.value


def test_bernstein_is_wider_than_the_normal_interval_and_its_bound_counts():
    terms = Terms(np.random.default_rng(6).random(1000))
    normal, seen = intervals.asymptotic(terms), intervals.empirical_bernstein(terms)
    assert seen.high - seen.low > 1.3 * (normal.high - normal.low)
    assert intervals.empirical_bernstein(terms, bound=10.0).high > seen.high


def test_resampling_distinct_terms_has_the_law_of_resampling_rows():
    rng = np.random.default_rng(7)
    terms = Terms((rng.random(3000) < 0.03) * rng.integers(1, 9, 3000).astype(float))
    fast = intervals.resampled_values(terms, rng=rng, replicates=4000)
    slow = intervals._by_units(terms.columns, rng, 4000)
    np.testing.assert_allclose(np.quantile(fast, [0.05, 0.5, 0.95]), np.quantile(slow, [0.05, 0.5, 0.95]), rtol=0.03)
    assert fast.std() == pytest.approx(slow.std(), rel=0.06)


def test_moments_of_shards_add_up_to_value_and_error_of_the_whole():
    log, _ = read_market(np.random.default_rng(8), 3000)
    parts = [log.part(s) for s in (slice(1000), slice(1000, None))]
    for (name, whole), (_, left), (_, right) in zip(all_terms(log), *map(all_terms, parts), strict=True):
        merged = left.moments() + right.moments()
        assert merged.value == pytest.approx(whole.value, abs=1e-12), name
        assert merged.error == pytest.approx(influence(whole).std() / np.sqrt(3000), rel=1e-9), name


def test_rows_of_one_shopper_widen_the_interval():
    rng = np.random.default_rng(9)
    once = rng.random(400) < 0.3
    log = read(np.repeat(once * 1.0, 5), np.zeros(2000, int), np.ones(2000), np.ones((2000, 1)))
    rows = evaluate_policy(log, rng=rng)["ips"]
    shoppers = evaluate_policy(log, rng=rng, unit=np.repeat(np.arange(400), 5))["ips"]
    assert shoppers.value == pytest.approx(rows.value)
    assert shoppers.high - shoppers.low > 2 * (rows.high - rows.low)
    assert (rows.n, shoppers.n) == (2000, 400)


def test_impossible_propensities_are_refused():
    with pytest.raises(ValueError, match="row 1 is 0"):
        read(np.ones(2), np.zeros(2, int), np.array([0.5, 0.0]), np.ones((2, 1)))
