"""Evidence on a recorded log: examination from its clicks, exposure from the policy that ranked it, if that is known.

Places, feedback, values and propensities are those on record; heads and features may be those of another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.bias.examination import assumed_curves, examination_curves
from marketplace.recorded_draws import MOST_GAP, with_propensities
from marketplace.slate_columns import flat, item_offsets, pad, predictions, slate_mask, to_numpy
from value_model.formula.logged_slates import logged_slates
from value_model.formula.value_policy import ValuePolicy
from value_model.slate_policies.perturbed_weights import PerturbedWeights
from value_model.slate_policies.plackett_luce import PlackettLuce
from value_model.slate_policies.slate_section import Exploration, SlateSection
from value_model.tuning.evidence import Evidence
from value_model.tuning.from_log import evidence_from_log, expected_squares, logged_exposure
from value_model.tuning.recorded_exposure import recorded_exposure
from value_model.tuning.tiers import logged_tiers

RANDOMISED = "The log was randomised: what happened to items in other places corrects what the heads expect."
NOT_RANDOMISED = "The log was not randomised: predictions are the heads' own opinion, and nothing is promised."
UNFIT = (
    "The log's propensities are not those of pages drawn by the values on record (rules, another design, or rounded to "
    f"more than {MOST_GAP:.1%}): predictions are the heads' own opinion, and nothing is promised."
)
ASSUMED = "No lists were recorded: a place is taken to be looked at as DCG discounts it."
SPREADING = (PlackettLuce, PerturbedWeights)  # what gives every item exposure


def recorded_evidence(
    slates: pa.Table,
    labels: pa.Table,
    policy: ValuePolicy,
    *,
    recorded: pa.Table,
    ranked_by: ValuePolicy,
    segment: np.ndarray,
    rng: np.random.Generator,
) -> tuple[Evidence, str]:
    """Evidence under `policy`, and a note on what it rests on.

    `recorded` = the same requests as they were logged, which `ranked_by` may have ranked; segment text [R].
    """
    mask = slate_mask(item_offsets(slates))
    surface = to_numpy(slates["surface"].combine_chunks()).astype(str)
    position = pad(to_numpy(flat(slates, "position")).astype(np.int64), mask)
    plain = replace(policy, slate=None)  # who ranked the log is told from what is on record, not from `policy`
    if not position.any():
        curves = assumed_curves(surface)
        evidence = evidence_from_log(slates, labels, plain, examination=curves, rng=rng, segment=segment)
        return replace(evidence, examination=np.array([curves[name] for name in surface.tolist()])), ASSUMED
    click = to_numpy(labels["click"].combine_chunks()).astype(np.float64)
    curves = examination_curves(
        position, pad(click, mask), pad(np.nan_to_num(predictions(slates, "ctr")), mask), surface
    )
    evidence = per_examined(evidence_from_log(slates, labels, plain, examination=curves, rng=rng, segment=segment))
    tier = pad(logged_tiers(recorded, ranked_by), mask)
    evidence = replace(evidence, slates=replace(evidence.slates, tier=tier))
    exposure = _exposure(recorded, evidence, ranked_by, rng=rng)
    if exposure is None:
        return evidence, UNFIT if with_propensities(recorded).any() else NOT_RANDOMISED
    return replace(evidence, exposure=exposure), RANDOMISED


def per_examined(evidence: Evidence) -> Evidence:
    """Evidence whose predictions, P(outcome | shown where it was), speak of an examined impression.

    Heads are calibrated on what was shown, at its places: whoever multiplies them by examination once more discounts
    for position twice. Each outcome is scaled, surface by surface, so that what the heads expect of the recorded lists
    is the sum of their predictions: sum over what was shown of examination x predicted = sum of heads.
    """
    shown, surface = evidence.position > 0, evidence.slates.surface
    scaled = {}
    for name, expected in evidence.predicted.items():
        factor = np.ones(len(evidence))
        for rows in (surface == one for one in evidence.slates.surfaces):
            looked = float((evidence.looked * expected)[rows].sum())
            factor[rows] = expected[rows][shown[rows]].sum() / looked if looked > 0 else 1.0
        scaled[name] = expected * factor[:, None]
    return replace(evidence, predicted=scaled, squares=expected_squares(scaled))


def _exposure(
    recorded: pa.Table, evidence: Evidence, ranked_by: ValuePolicy, *, rng: np.random.Generator
) -> np.ndarray | None:
    """float64 [R, n]: of the policy that ranked what is on record; None where its design is not known."""
    exploration, looks = exploration_of(ranked_by), evidence.examination
    if isinstance(exploration, PerturbedWeights):
        # Under rules, diversity or promises, places follow from more than the weights.
        ruled = (ranked_by.slate or SlateSection()).beside_exploration != SlateSection()
        if not ruled and pc.all(pc.equal(recorded["policy_version"].cast(pa.string()), ranked_by.version)).as_py():
            inputs = replace(logged_slates(recorded, ranked_by), tier=evidence.slates.tier)
            return logged_exposure(recorded, ranked_by, inputs, looks, evidence.segment, rng=rng)
    temperature = 1.0  # recorded logs of other engines hold log-odds
    if isinstance(exploration, PlackettLuce):
        temperature = exploration.temperature
    slates = evidence.slates
    return recorded_exposure(recorded, slates.mask, looks, rng=rng, temperature=temperature, tier=slates.tier)


def most_explored(recorded: pa.Table, served: Mapping[str, ValuePolicy]) -> str | None:
    """Of the policies `served`, by version: the one that spread most of the recorded requests; None where none did."""
    version = recorded["policy_version"].cast(pa.string())
    spreading = [v for v, policy in served.items() if isinstance(exploration_of(policy), SPREADING)]
    requests = {v: pc.sum(pc.equal(version, v)).as_py() or 0 for v in spreading}
    most = max(requests, key=lambda v: requests[v], default=None)
    return most if most is not None and requests[most] else None


def exploration_of(policy: ValuePolicy) -> Exploration | None:
    return None if policy.slate is None else policy.slate.exploration
