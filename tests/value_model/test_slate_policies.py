"""Slate policies: rules that hold, diversity against slow oracles, pacing that converges, exact propensities."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from value_model.formula import default_policy, evaluate
from value_model.slate_policies.diversity import DPP, MMR, Similarity
from value_model.slate_policies.epsilon_greedy import EpsilonGreedy
from value_model.slate_policies.perturbed_weights import PerturbedWeights
from value_model.slate_policies.plackett_luce import PlackettLuce
from value_model.slate_policies.rules import CategoryCap, MerchantCap, Newcomers, NewItems
from value_model.slate_policies.sequential import SequentialSlate
from value_model.slate_policies.shadow_prices import ShadowPrices, merit_share
from value_model.slate_policies.slate_policy import Greedy, ItemAttributes, SlatePolicy

BY_MERCHANT = Similarity(merchant=1.0)


def attributes_of(rng: np.random.Generator, n: int) -> ItemAttributes:
    vectors = rng.normal(size=(n, 8)).astype(np.float32)
    merchant = rng.integers(0, max(n // 3, 1), n)
    return ItemAttributes(
        {
            "merchant": merchant,
            "category": rng.integers(0, 4, n),
            "newcomer": merchant % 3 == 0,
            "new_item": rng.random(n) < 0.3,
            "embedding": vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        }
    )


def every_policy() -> list[SlatePolicy]:
    similarity = Similarity(merchant=0.5, category=0.2, embedding=0.3)
    rules = (MerchantCap(2), CategoryCap(4), Newcomers(2), NewItems(30, 0.3, 2))
    picks = (Greedy(), PlackettLuce(0.3), EpsilonGreedy(0.2))
    mixed = [SequentialSlate(p, rules, d) for p in picks for d in (None, MMR(0.5, similarity), DPP(0.2, similarity))]
    return [*picks, *mixed]


@pytest.mark.parametrize("policy", every_policy(), ids=repr)
def test_every_policy_keeps_the_contract(policy: SlatePolicy) -> None:
    rng = np.random.default_rng(0)
    for n, k in ((0, 3), (1, 3), (5, 5), (40, 10), (40, 0)):
        chosen = policy.choose(rng.normal(size=n), k=k, rng=rng, attributes=attributes_of(rng, n))
        assert len(chosen.order) == len(chosen.propensity) <= min(n, k)
        assert len(set(chosen.order.tolist())) == len(chosen.order)
        assert ((chosen.propensity > 0) & (chosen.propensity <= 1)).all()


@pytest.mark.parametrize(
    "policy",
    [
        EpsilonGreedy(0.3),
        PlackettLuce(0.5),
        SequentialSlate(PlackettLuce(0.5), (MerchantCap(1),)),
        SequentialSlate(PlackettLuce(0.5), (Newcomers(1),)),
        SequentialSlate(rules=(NewItems(30, 0.4, 1),)),
        SequentialSlate(PlackettLuce(0.5), (MerchantCap(1), NewItems(30, 0.4, 2)), MMR(0.4, Similarity(category=1.0))),
        SequentialSlate(EpsilonGreedy(0.5), (MerchantCap(1),), MMR(0.4, Similarity(category=1.0))),
        SequentialSlate(PlackettLuce(0.5), diversity=DPP(0.3, Similarity(embedding=1.0))),
    ],
    ids=repr,
)
def test_propensities_are_the_frequencies(policy: SlatePolicy) -> None:
    """Every slate comes up as often as the product of its logged propensities says, and those sum to 1."""
    rng = np.random.default_rng(5)
    values, draws = np.array([0.5, 0.4, 0.1, 0.0]), 12_000
    attributes = ItemAttributes(
        {
            "merchant": np.array([0, 0, 1, 2]),
            "category": np.array([0, 1, 0, 1]),
            "newcomer": np.array([False, False, False, True]),
            "new_item": np.array([False, True, False, True]),
            "embedding": np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]], np.float32),
        }
    )
    counts: Counter[tuple[int, ...]] = Counter()
    probabilities: dict[tuple[int, ...], float] = {}
    for _ in range(draws):
        chosen = policy.choose(values, k=2, rng=rng, attributes=attributes)
        slate = tuple(chosen.order.tolist())
        counts[slate] += 1
        assert probabilities.setdefault(slate, chosen.propensity.prod()) == pytest.approx(chosen.propensity.prod())
    assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-3)
    for slate, probability in probabilities.items():
        error = np.sqrt(probability * (1 - probability) / draws)
        assert counts[slate] / draws == pytest.approx(probability, abs=4.5 * error + 1e-12)


@pytest.mark.parametrize("policy", every_policy(), ids=repr)
def test_the_propensities_of_all_slates_sum_to_one_and_are_those_that_choose_logs(policy: SlatePolicy) -> None:
    rng = np.random.default_rng(3)
    attributes, values = attributes_of(rng, 6), rng.normal(size=6) / 3
    total = 0.0
    for slate in itertools.permutations(range(6), 3):
        total += policy.propensity(values, np.array(slate), attributes=attributes).prod()
    shorter = any(len(policy.choose(values, k=3, rng=rng, attributes=attributes).order) < 3 for _ in range(50))
    assert total == pytest.approx(1.0, abs=1e-9) or shorter
    for _ in range(20):
        chosen = policy.choose(values, k=3, rng=rng, attributes=attributes)
        np.testing.assert_allclose(
            policy.propensity(values, chosen.order, k=3, attributes=attributes), chosen.propensity
        )


@pytest.mark.parametrize("values", [[1.0, np.nan, 2.0, np.inf, -np.inf], [0.0, np.nan, np.nan], [np.nan] * 3], ids=str)
def test_several_values_that_are_not_finite_have_odds_too(values: list[float]) -> None:
    """They stand behind all others, each as likely as the next: the slates of every length sum to 1."""
    policy, value, rng = PlackettLuce(0.5), np.array(values), np.random.default_rng(5)
    for k in range(1, len(value) + 1):
        slates = itertools.permutations(range(len(value)), k)
        assert sum(policy.propensity(value, np.array(slate)).prod() for slate in slates) == pytest.approx(1)
    behind = np.flatnonzero(~np.isfinite(value))
    orders = [policy.choose(value, k=len(value), rng=rng) for _ in range(600)]
    last = np.array([choice.order[-1] for choice in orders])
    assert set(last) == set(behind)
    assert np.bincount(last)[behind] == pytest.approx(600 / len(behind), abs=60)
    np.testing.assert_allclose(orders[0].propensity[-len(behind) :], 1 / np.arange(len(behind), 0, -1))


def test_a_quota_gives_new_items_their_share_at_equal_odds_and_no_more_than_its_most() -> None:
    """Whatever the values: a place is the quota's with its share, while fewer than `most` stand above."""
    values, rng = np.array([9.0, 8.0, 7.0, -5.0, -9.0]), np.random.default_rng(4)
    attributes = ItemAttributes({"new_item": np.array([False, False, False, True, True])})
    quota = SequentialSlate(rules=(NewItems(30, 0.2, 1),))
    assert quota.propensity(values, np.array([4, 0, 1]), attributes=attributes).tolist() == [0.1, 1.0, 1.0]
    np.testing.assert_allclose(quota.propensity(values, np.array([0, 3, 1]), attributes=attributes), [0.8, 0.1, 1.0])
    assert quota.propensity(values, np.array([3, 4, 0]), attributes=attributes).tolist() == [0.1, 0.0, 0.0]
    slates = [quota.choose(values, k=3, rng=rng, attributes=attributes).order for _ in range(3_000)]
    new = np.array([np.count_nonzero(order >= 3) for order in slates])
    assert new.max() == 1
    assert new.mean() == pytest.approx(1 - 0.8**3, abs=4 * np.sqrt(0.25 / 3_000))


def test_an_impossible_slate_has_no_probability() -> None:
    values = np.array([3.0, 2.0, 1.0])
    assert Greedy().propensity(values, np.array([0, 2])).tolist() == [1.0, 0.0]
    one_each = SequentialSlate(PlackettLuce(1.0), (MerchantCap(1),))
    attributes = ItemAttributes({"merchant": np.array([0, 0, 1])})
    assert one_each.propensity(values, np.array([0, 1]), attributes=attributes)[1] == 0.0


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 5), st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_caps_are_never_broken_and_the_quota_is_met_where_it_can_be(
    seed: int, merchant_cap: int, category_cap: int, newcomers: int
) -> None:
    rng = np.random.default_rng(seed)
    attributes = attributes_of(rng, 30)
    free = (MerchantCap(merchant_cap), Newcomers(newcomers))
    for rules in (free, (*free, CategoryCap(category_cap))):
        order = (
            SequentialSlate(PlackettLuce(1.0), rules)
            .choose(rng.normal(size=30), k=10, rng=rng, attributes=attributes)
            .order
        )
        assert np.bincount(attributes["merchant"][order]).max() <= merchant_cap
        if rules != free:
            assert np.bincount(attributes["category"][order]).max() <= category_cap
        else:
            per_merchant = np.bincount(attributes["merchant"][attributes["newcomer"]], minlength=1)
            can = int(np.minimum(per_merchant, merchant_cap).sum())
            assert attributes["newcomer"][order].sum() >= min(newcomers, can, len(order))


def test_without_rules_the_sequential_slate_is_greedy() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=50)
    slate = SequentialSlate().choose(values, k=20, rng=rng)
    np.testing.assert_array_equal(slate.order, Greedy().choose(values, k=20).order)


def oracle(values: np.ndarray, kernel: np.ndarray, k: int, diversity: MMR | DPP) -> list[int]:
    """Place by place, everything recomputed."""
    order: list[int] = []
    for _ in range(k):
        best, best_score = -1, -np.inf
        for i in set(range(len(values))) - set(order):
            score = values[i]
            if order and isinstance(diversity, MMR):
                score -= diversity.strength * max(kernel[i, j] for j in order)
            elif order:
                before = np.linalg.slogdet(kernel[np.ix_(order, order)])[1]
                after = np.linalg.slogdet(kernel[np.ix_([*order, i], [*order, i])])[1]
                score += diversity.strength * max(after - before, np.log(diversity.floor))
            if score > best_score:
                best, best_score = i, score
        order.append(best)
    return order


@pytest.mark.parametrize("kind", [MMR, DPP])
@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_diversity_agrees_with_the_slow_oracle(kind: type, strength: float) -> None:
    rng = np.random.default_rng(7)
    similarity = Similarity(merchant=0.2, category=0.3, embedding=0.5)
    attributes, values = attributes_of(rng, 25), rng.normal(size=25)
    rows = similarity.rows(attributes, n=25)
    kernel = np.stack([rows(i) for i in range(25)]).astype(float)
    np.testing.assert_allclose(np.diag(kernel), 1.0, atol=1e-6)
    diversity = kind(strength, similarity)
    order = SequentialSlate(diversity=diversity).choose(values, k=8, rng=rng, attributes=attributes).order
    assert order.tolist() == oracle(values, kernel, 8, diversity)


@pytest.mark.parametrize("kind", [MMR, DPP])
def test_more_strength_shows_more_merchants(kind: type) -> None:
    rng = np.random.default_rng(8)
    attributes, values = attributes_of(rng, 60), rng.normal(size=60)

    def merchants(strength: float) -> int:
        slate = SequentialSlate(diversity=kind(strength, BY_MERCHANT))
        return len(
            set(attributes["merchant"][slate.choose(values, k=12, rng=rng, attributes=attributes).order].tolist())
        )

    assert merchants(0.0) < merchants(1.0) <= merchants(5.0) == 12


def test_shadow_prices_keep_a_promise_at_a_price_near_the_gap() -> None:
    """Merchant 2 is promised 20 % and is worth 0.3 less an item: the price settles about there, the share at 20 %."""
    rng = np.random.default_rng(9)
    prices = ShadowPrices(np.array([0.0, 0.0, 0.2]), rate=0.02, most=2.0)
    shares, paid = [], []
    for step in range(3000):
        merchant = rng.integers(0, 3, 30)
        values = rng.normal(1.0, 0.05, 30) - 0.3 * (merchant == 2)
        order = Greedy().choose(values + prices.worth(merchant), k=5).order
        prices.observe(merchant[order])
        if step >= 500:
            shares.append(np.mean(merchant[order] == 2))
            paid.append(prices.price[2])
    assert np.mean(shares) == pytest.approx(0.2, abs=0.01)
    assert np.mean(paid) == pytest.approx(0.3, abs=0.05)
    assert prices.price[:2].tolist() == [0.0, 0.0]


def test_a_promise_that_ruins_the_page_stops_at_the_highest_price() -> None:
    prices = ShadowPrices(np.array([0.0, 0.5]), rate=1.0, most=0.1)
    for _ in range(20):
        prices.observe(np.zeros(5, int))
    assert prices.price.tolist() == [0.0, 0.1]


def test_fair_targets_are_proportional_to_merit_at_hand() -> None:
    share = merit_share(np.array([3.0, 1.0, -5.0, np.nan, 0.5]), np.array([0, 1, 2, 2, 1]), merchants=4, k=2, slack=0.2)
    assert share == pytest.approx([0.8 * 3 / 4, 0.8 * 1 / 4, 0, 0])


def test_fair_pacing_moves_exposure_towards_merit() -> None:
    """Two merchants of nearly equal merit: greedy shows one of them alone, pacing shares the page."""
    merchant, values = np.repeat([0, 1], 10), np.repeat([1.0, 0.98], 10)
    prices = ShadowPrices(np.zeros(2), rate=0.02, most=1.0)
    shown = []
    for _ in range(500):
        order = Greedy().choose(values + prices.worth(merchant), k=5).order
        prices.observe(merchant[order], target=merit_share(values, merchant, merchants=2, k=20))
        shown.append(np.mean(merchant[order] == 1))
    assert set(merchant[Greedy().choose(values, k=5).order].tolist()) == {0}
    assert np.mean(shown[100:]) == pytest.approx(0.8 * 0.98 / 1.98, abs=0.03)


def test_perturbed_weights_are_counted_exactly() -> None:
    rng = np.random.default_rng(12)
    policy = default_policy()
    columns = {name: rng.random(12) for name in policy.inputs}
    perturbed = PerturbedWeights(1.0, ("w_click", "w_order", "w_gmv"))
    base = policy.weights_for()
    values = evaluate(policy, columns, weights=perturbed.grid(base))
    probabilities: dict[tuple[int, ...], float] = {}
    counts: Counter[tuple[int, ...]] = Counter()
    for draw in range(perturbed.draws):
        weights = perturbed.weights(base, draw)
        np.testing.assert_array_equal(evaluate(policy, columns, weights=weights), values[draw])
        assert {abs(np.log(weights[n] / base[n])).round(12) for n in perturbed.names} == {1.0}
        assert weights["w_merchant"] == base["w_merchant"]
        chosen = perturbed.choose(values, k=4, draw=draw)
        slate = tuple(chosen.order.tolist())
        counts[slate] += 1
        probabilities[slate] = chosen.propensity.prod()
    assert len(probabilities) > 1
    for slate, probability in probabilities.items():
        assert probability == pytest.approx(counts[slate] / perturbed.draws)
    assert {perturbed.draw(rng) for _ in range(200)} == set(range(8))


@pytest.mark.slow
@pytest.mark.parametrize("slate", [PlackettLuce(0.4), SequentialSlate(rules=(MerchantCap(1),))], ids=repr)
def test_perturbed_weights_over_any_slate_policy_are_exact(slate: SlatePolicy) -> None:
    """Frequencies over draws of the weights and of the slate agree with the logged propensities."""
    rng = np.random.default_rng(14)
    perturbed = PerturbedWeights(0.5, ("a", "b"))
    values = rng.normal(size=(4, 4)) / 2
    attributes, draws = ItemAttributes({"merchant": np.array([0, 0, 1, 2])}), 8000
    counts: Counter[tuple[int, ...]] = Counter()
    probabilities: dict[tuple[int, ...], float] = {}
    for _ in range(draws):
        chosen = perturbed.choose(values, k=2, draw=perturbed.draw(rng), slate=slate, attributes=attributes, rng=rng)
        counts[tuple(chosen.order.tolist())] += 1
        probabilities[tuple(chosen.order.tolist())] = chosen.propensity.prod()
    assert sum(probabilities.values()) == pytest.approx(1.0, abs=0.01)
    for order, probability in probabilities.items():
        error = np.sqrt(probability * (1 - probability) / draws)
        assert counts[order] / draws == pytest.approx(probability, abs=4.5 * error + 1e-12)


def test_mistakes_are_named() -> None:
    rng = np.random.default_rng(0)
    for build, message in (
        (lambda: MerchantCap(0), "1 or more"),
        (lambda: Newcomers(-1), "0 or more"),
        (lambda: NewItems(0, 0.1, 1), "days = a number above 0"),
        (lambda: NewItems(30, 1.5, 1), "share = a number above 0 and at most 1"),
        (lambda: NewItems(30, 0.1, 0), "1 or more"),
        (lambda: NewItems.from_toml({"days": 30}), "such as { days = 30, share = 0.1, most = 2 }"),
        (lambda: Similarity(merchant=0.5), "sum to 1"),
        (lambda: EpsilonGreedy(1.5), "probability"),
        (lambda: PerturbedWeights(0.0, ("a",)), "above 0"),
        (lambda: PerturbedWeights(0.1, ("a", "a")), "different"),
        (lambda: ShadowPrices(np.array([0.7, 0.7]), rate=1, most=1), "at most 1"),
        (lambda: SequentialSlate(rules=(MerchantCap(1),)).choose(np.ones(3), k=1, rng=rng), "ItemAttributes"),
        (lambda: SequentialSlate(diversity=MMR(1, BY_MERCHANT)).choose(np.ones(3), k=1, rng=rng), "ItemAttributes"),
        (lambda: PerturbedWeights(0.1, ("a",)).choose(np.ones((3, 2)), k=1, draw=0), "2 draws"),
    ):
        with pytest.raises(ValueError, match=message):
            build()


def test_permutations_of_candidates_change_nothing_but_names() -> None:
    rng = np.random.default_rng(13)
    attributes, values = attributes_of(rng, 30), rng.normal(size=30)
    shuffle = rng.permutation(30)
    moved = ItemAttributes({name: column[shuffle] for name, column in attributes.columns.items()})
    for diversity, rules in itertools.product(
        (None, MMR(0.5, BY_MERCHANT)), ((), (MerchantCap(2), CategoryCap(5), Newcomers(3)))
    ):
        policy = SequentialSlate(rules=rules, diversity=diversity)
        original = policy.choose(values, k=10, rng=rng, attributes=attributes).order
        reordered = policy.choose(values[shuffle], k=10, rng=rng, attributes=moved).order
        np.testing.assert_array_equal(shuffle[reordered], original)
