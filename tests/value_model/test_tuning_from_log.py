"""Evidence from SLATE rows: the same truth as the simulator that logged them."""

import itertools
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from evaluation.bias.examination import examination_of
from marketplace.attribution import attribute
from marketplace.schema import SLATE, SURFACES
from marketplace.simulator import SimulatorConfig, simulate
from marketplace.slate_columns import RequestLists, flat, item_offsets, map_of_lists, pad, request_of_rows
from value_model.formula import parse_policy, to_toml
from value_model.formula.logged_slates import logged_slates
from value_model.slate_policies.slate_policy import ItemAttributes
from value_model.tuning import Estimator, PredictConfig, evidence_from_log, predict
from value_model.tuning.from_log import logged_exposure
from value_model.tuning.predict import exposure_under

# The simulator's own utilities are a column, so that its Plackett-Luce log is this policy's.
POLICY = b"""
name = "incumbent"
owner = "test"
reason = "What logged."
currency = "SAR"
unit = "1"

[expressions]
value = "w_utility * utility + w_quality * quality"

[quantities]
utility = { unit = "1", low = -50, high = 50, sign = "any", meaning = "the incumbent's" }

[weights]
w_utility = { value = 1, unit = "1", low = 0, high = 5, sign = "+", reason = "r" }
w_quality = { value = 0, unit = "1", low = 0, high = 5, sign = "+", reason = "r" }
"""
LUCE = '\n[slate]\nexploration = { kind = "plackett_luce", temperature = 1.0 }\n'
PERTURBED = '\n[slate]\nexploration = { kind = "perturbed_weights", sigma = 0.2, weights = ["w_utility"] }\n'


def policy_with(section: str):
    return parse_policy(to_toml(parse_policy(POLICY)) + section, file="p.toml")


@pytest.fixture(scope="module")
def logged():
    """(simulation, slates with heads and quantities, labels, examination by surface)."""
    config = replace(SimulatorConfig.small(), log_considered=True, candidates=24, shown=(8, 8, 8, 6))
    simulation = simulate(config, np.random.default_rng(0))
    slates = simulation.dataset.slates
    offsets, request = item_offsets(slates), request_of_rows(slates)
    item = simulation.item_rows(flat(slates, "item_id"))
    requests = simulation.requests.take(request)
    response = simulation.respond(requests, item[:, None])
    click, order = response.attraction[:, 0], (response.attraction * response.order)[:, 0]
    heads = {"ctr": click, "ctcvr": order, "gmv": order * response.order_value[:, 0]}
    market = simulation.market
    merchant = market.items.merchant[item]
    numeric = {
        "utility": flat(slates, "value").to_numpy(),
        "quality": market.merchants.quality[merchant],
        "commission_rate": market.merchants.commission_rate[merchant],
        "newness": np.isfinite(market.merchants.joined[merchant]).astype(float),
    }
    slates = _with(_with(slates, "predictions", heads, offsets), "numeric", numeric, offsets)
    slates = _one_weight(slates, np.full(len(slates), np.exp(0.2)))
    labels = attribute(slates, simulation.dataset.feedback)
    assert labels.slates.num_rows > 0.9 * len(slates)
    curves = dict(
        zip(("home", "search", "store_page", "product_page"), simulation.examination(positions=8), strict=True)
    )
    return labels.slates, labels.labels, curves


def _with(slates: pa.Table, name: str, columns: dict[str, np.ndarray], offsets: np.ndarray) -> pa.Table:
    kind = SLATE.field(name).type
    lists = {key: RequestLists(offsets, pa.array(column)) for key, column in columns.items()}
    built = map_of_lists(lists, requests=len(slates), values=kind.item_type.value_type).cast(kind)
    return slates.set_column(slates.column_names.index(name), SLATE.field(name), built)


def _one_weight(slates: pa.Table, values: np.ndarray) -> pa.Table:
    cells = pa.array([[("w_utility", v), ("w_quality", 0.0)] for v in values.tolist()], SLATE.field("weights").type)
    return slates.set_column(slates.column_names.index("weights"), SLATE.field("weights"), cells)


def _ranked(slates: pa.Table, score: np.ndarray) -> pa.Table:
    """As greedy would have shown them by `score`, four places each."""
    request, offsets = request_of_rows(slates), item_offsets(slates)
    order = np.lexsort([-score, request])
    position = np.empty(len(score), np.int32)
    position[order] = np.arange(len(score)) - np.repeat(offsets[:-1], np.diff(offsets)) + 1
    position[position > 4] = 0
    return _placed(slates, position, np.where(position > 0, 1.0, np.nan))


def _placed(slates: pa.Table, position: np.ndarray, propensity: np.ndarray) -> pa.Table:
    offsets = item_offsets(slates)
    for name, values in (("position", position), ("propensity", propensity)):
        field = SLATE.field(name)
        cells = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values)).cast(field.type)
        slates = slates.set_column(slates.column_names.index(name), field, cells)
    return slates


def test_outcomes_predictions_and_exposure_fit_together(logged) -> None:
    slates, labels, curves = logged
    evidence = evidence_from_log(slates, labels, policy_with(LUCE), examination=curves, rng=np.random.default_rng(1))
    mask = evidence.slates.mask
    assert set(evidence.feedback) == {"click", "order", "gmv", "commission"}
    assert evidence.feedback["click"].sum() == labels["click"].to_numpy().sum()
    assert evidence.exposure[mask].min() > 0
    np.testing.assert_allclose(evidence.exposure.sum(axis=1), evidence.examination.sum(axis=1), rtol=1e-6)
    # True heads, true examination: expected and actual clicks agree.
    expected = (evidence.looked * evidence.predicted["click"]).sum()
    assert evidence.feedback["click"].sum() == pytest.approx(expected, rel=0.1)
    weight = evidence.feedback["click"] / np.maximum(evidence.exposure, 0.005)
    assert weight.sum() == pytest.approx(evidence.predicted["click"][mask].sum(), rel=0.25)


def test_a_second_page_is_drawn_as_a_first_and_looked_at_where_it_stands(logged) -> None:
    slates, labels, _ = logged
    curves, above = dict.fromkeys(SURFACES, 0.9 ** np.arange(18)), 10 * (np.arange(len(slates)) % 2)
    for policy, pages in ((LUCE, slates), (PERTURBED, _ranked(slates, flat(slates, "value").to_numpy()))):
        position, request = flat(pages, "position").to_numpy(), request_of_rows(pages)
        position = np.where(position > 0, position + above[request], 0)
        cells = pa.ListArray.from_arrays(pa.array(item_offsets(pages), pa.int32()), pa.array(position))
        field = SLATE.field("position")
        pages = pages.set_column(pages.column_names.index("position"), field, cells.cast(field.type))
        rng = np.random.default_rng(1)
        evidence = evidence_from_log(pages, labels, policy_with(policy), examination=curves, rng=rng)
        looked = np.where(position > 0, 0.9 ** (position - 1.0), 0.0)
        np.testing.assert_allclose(evidence.looked[evidence.slates.mask], looked)
        np.testing.assert_allclose(evidence.exposure.sum(axis=1), np.bincount(request, looked), rtol=1e-6)


def test_predictions_follow_from_the_log(logged) -> None:
    slates, labels, curves = logged
    policy, rng = policy_with(LUCE), np.random.default_rng(2)
    evidence = evidence_from_log(slates, labels, policy, examination=curves, rng=rng)
    direct, dr = (
        predict(evidence, policy, {"w_quality": 5.0}, rng=rng, estimator=e, config=PredictConfig())
        for e in (Estimator.DIRECT, Estimator.DR)
    )
    truth = direct["ctr"].difference.value  # the heads are the truth
    assert dr["ctr"].difference.low <= truth <= dr["ctr"].difference.high
    assert direct["merchant_quality"].difference.low > 0


def test_slates_that_were_not_drawn_from_their_values_are_refused(logged) -> None:
    slates, labels, curves = logged
    policy = policy_with(LUCE.replace("1.0", "0.7"))
    with pytest.raises(ValueError, match="propensities are not Plackett-Luce"):
        evidence_from_log(slates, labels, policy, examination=curves, rng=np.random.default_rng(3))


@pytest.mark.parametrize("band", ["", ", band = 5"])
def test_searches_that_plackett_luce_drew_tier_by_tier_have_the_exposure_of_their_draws(logged, band) -> None:
    """The slates of the slate policy itself; the exposure against draws in which a tier outweighs any odds."""
    drawn, labels, curves = logged
    drawn = drawn.slice(0, 100)
    labels = labels.slice(0, item_offsets(drawn)[-1])
    policy = policy_with(LUCE + f'relevance = {{ tiers = ["name", "nearly", "part"]{band} }}\n')
    rng, offsets, request = np.random.default_rng(5), item_offsets(drawn), request_of_rows(drawn)
    value, grade = flat(drawn, "value").to_numpy(), rng.integers(0, 6, offsets[-1]).astype(float)
    tier = policy.slate.relevance.order(grade, flat(drawn, "retrieval_score").to_numpy(), request)
    position, propensity = np.zeros(len(value), np.int32), np.full(len(value), np.nan)
    filled = policy.slate.policy("search", search=True)
    for start, end in itertools.pairwise(offsets.tolist()):
        attributes = ItemAttributes({"relevance": tier[start:end]})
        chosen = filled.choose(value[start:end], k=8, rng=rng, attributes=attributes)
        position[start + chosen.order] = np.arange(1, len(chosen.order) + 1)
        propensity[start + chosen.order] = chosen.propensity
    numeric = {"utility": value, "quality": 0 * value, "relevance": grade}
    slates = _with(_placed(drawn, position, propensity), "numeric", numeric, offsets)
    as_served = _with(slates, "numeric", numeric | {"relevance_tier": tier.astype(float)}, offsets)
    for table in (slates, as_served):  # a log that holds grades alone is tiered as the policy would
        evidence = evidence_from_log(table, labels, policy, examination=curves, rng=np.random.default_rng(3))
        mask = evidence.slates.mask
        utility, lifted = (pad(column.astype(float), mask, absent=-np.inf) for column in (value, tier * 1e6))
        exact = np.zeros(mask.shape)
        for _ in range(2_000):
            order = np.argsort(-(utility + lifted + rng.gumbel(size=mask.shape)), axis=1)[:, :8]
            np.put_along_axis(exact, order, np.take_along_axis(exact, order, 1) + evidence.examination / 2_000, 1)
        assert np.abs(evidence.exposure - exact).max() < 0.08
        assert np.abs(evidence.exposure - exact).mean() < 0.005
        assert (evidence.exposure[exact == 0] < 0.01).all()
    greedy = exposure_under(policy, evidence, temperature=None, rng=rng)
    assert (np.sign(greedy) == (pad(_before(request, tier, value) < 8, mask))).all()
    other = policy_with(LUCE + 'relevance = { tiers = ["all"] }\n')
    with pytest.raises(ValueError, match="propensities are not Plackett-Luce"):
        evidence_from_log(slates, labels, other, examination=curves, rng=np.random.default_rng(3))


def _before(request: np.ndarray, tier: np.ndarray, value: np.ndarray) -> np.ndarray:
    """How many of its request come before each row, by tier and then by value."""
    order = np.lexsort([-value, -tier, request])
    before = np.empty(len(value), int)
    before[order] = np.arange(len(value)) - np.searchsorted(request, request[order])
    return before


def test_perturbed_weights_are_checked_against_the_logged_draws_and_propensities(logged) -> None:
    drawn, _, curves = logged
    policy = policy_with(PERTURBED)
    slates = _ranked(drawn, flat(drawn, "value").to_numpy())
    inputs = logged_slates(slates, policy)
    looks = examination_of(inputs.surface, np.minimum(4, inputs.mask.sum(axis=1)), curves)
    segment = np.full(len(slates), "")
    exposure = logged_exposure(slates, policy, inputs, looks, segment, rng=np.random.default_rng(4))
    # One weight alone scales all values: every draw ranks alike, and four places are looked at.
    assert exposure is not None
    assert ((exposure > 0).sum(axis=1) == np.minimum(4, inputs.mask.sum(axis=1))).all()
    other = _one_weight(slates, np.full(len(slates), 1.1))
    with pytest.raises(ValueError, match="is no draw around 1"):
        logged_exposure(other, policy, inputs, looks, segment, rng=np.random.default_rng(4))
    backwards = _ranked(drawn, -flat(drawn, "value").to_numpy())
    with pytest.raises(ValueError, match="propensities are not the draws' rankings"):
        logged_exposure(backwards, policy, inputs, looks, segment, rng=np.random.default_rng(4))


def test_shadow_prices_took_part_in_the_choice(logged) -> None:
    """Prices that put the worst first: with them the slate is what every draw shows, without them it is nobody's."""
    drawn, _, curves = logged
    policy = policy_with(PERTURBED)
    offsets, value = item_offsets(drawn), flat(drawn, "value").to_numpy()
    paced = _with(
        _ranked(drawn, -value), "numeric", {"utility": value, "quality": 0 * value, "shadow_price": -9 * value}, offsets
    )
    inputs = logged_slates(paced, policy)
    looks = examination_of(inputs.surface, np.minimum(4, inputs.mask.sum(axis=1)), curves)
    segment = np.full(len(paced), "")
    exposure = logged_exposure(paced, policy, inputs, looks, segment, rng=np.random.default_rng(4))
    place = pad(flat(paced, "position").to_numpy(), inputs.mask)
    np.testing.assert_array_equal(exposure > 0, (place > 0) & (place <= 4))


def test_a_greedy_log_has_no_exposure(logged) -> None:
    slates, labels, curves = logged
    evidence = evidence_from_log(slates, labels, policy_with(""), examination=curves, rng=np.random.default_rng(5))
    assert evidence.exposure is None
    short = {name: curve[:3] for name, curve in curves.items()}
    with pytest.raises(ValueError, match="surface 'home' is wanted"):
        evidence_from_log(slates, labels, policy_with(""), examination=short, rng=np.random.default_rng(5))
