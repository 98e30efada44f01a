"""Who ranked a log, and what its design says of exposure: weights' draws counted out, rules and strangers refused."""

from dataclasses import replace
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.data import kept
from jobs.run_evidence import evidence_of, labelled, of_one_policy
from jobs.value_slates import _list, _map_of_scalars
from marketplace.schema import SLATE
from marketplace.slate_columns import flat, item_offsets, pad
from value_model.formula import default_policy, evaluate, parse_policy, to_toml
from value_model.formula.logged_slates import logged_slates
from value_model.slate_policies.rules import MerchantCap
from value_model.tuning.recorded_evidence import UNFIT
from value_model.tuning.scoring import request_weights

pytestmark = pytest.mark.xdist_group("run")

SIGMA, VARIED, SHOWN = 0.4, ("w_click", "w_gmv"), 5
SECTION = '\n[slate]\nexploration = { kind = "perturbed_weights", sigma = 0.4, weights = ["w_click", "w_gmv"] }\n'
POLICY = parse_policy(to_toml(default_policy()) + SECTION)


def with_column(slates, name, values):
    return slates.set_column(slates.column_names.index(name), SLATE.field(name), values.cast(SLATE.field(name).type))


def ranked(inputs, weights):
    """int [R, n]: 1-based places by value under weights [R]; absent items come last."""
    lifted = {name: w[:, None] for name, w in weights.items()}
    value = np.where(inputs.mask, evaluate(POLICY, inputs.columns, weights=lifted, mask=inputs.mask), -np.inf)
    return np.argsort(np.argsort(-value, axis=1, kind="stable"), axis=1) + 1


def propensities(inputs, centre, place):
    """float64 [R, n]: of all draws that agree on the items above, the share that agrees here too; NaN = not shown."""
    shown = inputs.mask & (place <= SHOWN)
    agree = {k: np.zeros(len(place)) for k in range(SHOWN + 1)}
    for signs in product((-1, 1), repeat=len(VARIED)):
        drawn = ranked(inputs, centre | {n: centre[n] * np.exp(SIGMA * s) for n, s in zip(VARIED, signs, strict=True)})
        for k in agree:
            agree[k] += ((drawn == place) | ~shown | (place > k)).all(axis=1)
    propensity = np.full(place.shape, np.nan)
    for k in range(1, SHOWN + 1):
        here = shown & (place == k)
        propensity[here] = np.broadcast_to((agree[k] / agree[k - 1])[:, None], place.shape)[here]
    return propensity


@pytest.fixture(scope="module")
def perturbed(run_folder):
    """(data set, its held-out slates as a service that perturbs weights would have logged them, centre weights)."""
    dataset, slates = kept(run_folder), pq.read_table(run_folder / "evaluation" / "slates.parquet")
    inputs = logged_slates(slates, POLICY)
    centre = request_weights(POLICY, inputs.surface, np.full(len(slates), ""))  # it has no segment's own weights
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (len(VARIED), len(slates)))
    drawn = centre | {n: centre[n] * np.exp(SIGMA * s) for n, s in zip(VARIED, signs, strict=True)}
    place = ranked(inputs, drawn)
    position = np.where(place <= SHOWN, place, 0)[inputs.mask]
    slates = with_column(slates, "position", _list(position, item_offsets(slates)))
    propensity = propensities(inputs, centre, place)[inputs.mask]
    slates = with_column(slates, "propensity", _list(propensity, item_offsets(slates)))
    slates = with_column(slates, "weights", _map_of_scalars(drawn))
    slates = with_column(slates, "policy_version", pa.array([POLICY.version] * len(slates)).dictionary_encode())
    return replace(dataset, slates=slates), slates, centre


def exposure(dataset, slates, ranked_by):
    joined, labels = labelled(dataset, slates)
    return evidence_of(dataset, joined, labels, default_policy(), ranked_by=ranked_by, rng=np.random.default_rng(1))


def test_perturbed_weights_are_recognised_and_all_draws_counted(perturbed):
    dataset, slates, centre = perturbed
    evidence, note = exposure(dataset, slates, POLICY)
    assert "was randomised" in note
    curve = np.column_stack([evidence.examination, np.zeros(len(evidence))])
    expected = np.zeros(evidence.slates.mask.shape)
    for a in (-1, 1):
        for b in (-1, 1):
            drawn = centre | {n: centre[n] * np.exp(SIGMA * s) for n, s in zip(VARIED, (a, b), strict=True)}
            place = np.minimum(ranked(evidence.slates, drawn), curve.shape[1])
            expected += np.where(evidence.slates.mask, np.take_along_axis(curve, place - 1, axis=1), 0.0) / 4
    np.testing.assert_allclose(evidence.exposure, expected, atol=1e-12)
    assert ((expected > 0) & (evidence.position == 0)).any()


def test_rules_and_other_policies_are_not_taken_for_the_design(perturbed):
    dataset, slates, _ = perturbed
    ruled = replace(POLICY, slate=replace(POLICY.slate, rules=(MerchantCap(2),)))
    versioned = with_column(slates, "policy_version", pa.array([ruled.version] * len(slates)).dictionary_encode())
    assert exposure(replace(dataset, slates=versioned), versioned, ruled)[0].exposure is None
    evidence, note = exposure(dataset, slates, ruled)
    assert evidence.exposure is None
    assert note == UNFIT


def test_of_several_served_policies_the_one_that_explored_most_is_kept(perturbed):
    dataset, slates, _ = perturbed
    in_force, other, greedy = default_policy(), replace(POLICY, name="other"), default_policy(currency="USD")
    versions = [[greedy, other, POLICY, POLICY][i % 4].version for i in range(len(slates))]
    mixed = with_column(slates, "policy_version", pa.array(versions).dictionary_encode())
    served = {policy.version: policy for policy in (greedy, other, POLICY)}
    kept_slates, ranked_by, notes = of_one_policy(replace(dataset, slates=mixed), mixed, served, in_force)
    assert ranked_by == POLICY
    assert len(kept_slates) == versions.count(POLICY.version)
    assert notes == (f"{len(slates) - len(kept_slates):,} requests that other policies ranked are left out.",)
    assert of_one_policy(dataset, slates, {greedy.version: greedy}, in_force)[1:] == (in_force, ())


def test_positions_are_those_of_the_log(perturbed):
    dataset, slates, _ = perturbed
    evidence, _ = exposure(dataset, slates, POLICY)
    logged = pad(flat(slates, "position").to_numpy(), evidence.slates.mask)
    np.testing.assert_array_equal(evidence.position, logged)
