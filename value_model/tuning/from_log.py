"""Evidence from logged slates and their labels, with the exposure of the policy that logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.bias.examination import examination_of
from evaluation.bias.propensity import by_position, plackett_luce
from marketplace.attribution import EVENT_OF_LABEL
from marketplace.heads import HEADS, HeadKind, bringing_event, head_of, per_impression, recorded_heads
from marketplace.recorded_draws import MOST_GAP, log_odds, recorded_propensity, shadow_prices
from marketplace.settled import LATE
from marketplace.slate_columns import item_offsets, lists, numeric_features, pad, page_places, to_numpy, weights
from value_model.formula.logged_slates import LoggedSlates, logged_slates
from value_model.formula.value_policy import ValuePolicy
from value_model.slate_policies.epsilon_greedy import EpsilonGreedy
from value_model.slate_policies.perturbed_weights import PerturbedWeights
from value_model.slate_policies.slate_policy import LOWEST
from value_model.tuning.evidence import Evidence
from value_model.tuning.exposure import of_perturbed, of_plackett_luce, perturbed_propensity
from value_model.tuning.scoring import request_weights
from value_model.tuning.sweep import Sweep
from value_model.tuning.tiers import TierSlates, logged_tiers

NEWCOMER = 0.125  # newness from which a merchant counts as a newcomer: 90 days at a half-life of 30


def evidence_from_log(
    slates: pa.Table,
    labels: pa.Table,
    policy: ValuePolicy,
    *,
    examination: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    segment: np.ndarray | None = None,
) -> Evidence:
    """SLATE rows that `policy` ranked (heads and quantities logged), labels of `marketplace.attribution`.

    examination: P(examined) by place for every surface, relative to the first. The logging policy is the one of the
    policy's [slate] section: Plackett-Luce or perturbed weights, of the values and the logged shadow prices, checked
    against the logged propensities; without exploration the log counts as not randomised. Raises ValueError where
    slates and policy do not fit.
    """
    inputs = logged_slates(slates, policy)
    mask = inputs.mask
    inputs = replace(inputs, tier=pad(logged_tiers(slates, policy), mask))
    place, above = page_places(slates)
    position = pad(place, mask)
    looks = examination_of(inputs.surface, position.max(axis=1, initial=0), examination, above=above)
    predicted, feedback = _outcomes(slates, labels, mask)
    group = np.full(len(mask), "") if segment is None else segment
    randomised = logged_exposure(slates, policy, inputs, looks, group, rng=rng)
    return Evidence(
        slates=inputs,
        examination=looks,
        position=position,
        feedback=feedback,
        predicted=predicted,
        traits=_traits(slates, mask),
        unit=np.unique(to_numpy(slates["user_id"]), return_inverse=True)[1],
        segment=group,
        exposure=randomised,
        squares=expected_squares(predicted),
    )


def _outcomes(
    slates: pa.Table, labels: pa.Table, mask: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Predictions and feedback of every outcome whose head was logged, and of whose rows it is known what came."""
    happened, expected = {}, {}
    known = [
        name
        for name in labels.column_names
        if EVENT_OF_LABEL.get(name) != LATE or pc.all(labels["return_mature"]).as_py()
    ]
    for head in per_impression([head.name for head in recorded_heads(known)]):
        logged = lists(slates, "predictions", head.name).values
        if len(logged) == mask.sum():
            expected[head.outcome] = to_numpy(logged).astype(np.float64)
            label = to_numpy(labels[head.label].combine_chunks()).astype(np.float64)
            happened[head.outcome] = np.nan_to_num(label)
    rate = numeric_features(slates, "commission_rate")
    if "gmv" in expected and len(rate.values) == mask.sum():
        shares = to_numpy(rate.values).astype(np.float64)
        expected["commission"], happened["commission"] = shares * expected["gmv"], shares * happened["gmv"]
    return tuple({n: pad(column, mask) for n, column in part.items() if n in expected} for part in (expected, happened))  # type: ignore[return-value]


def expected_squares(predicted: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """E[outcome^2 | examined]: the prediction for 0/1 outcomes, amount^2 / P(the event that brings it) for amounts."""
    events = {head.label for head in HEADS if head.kind is HeadKind.PROBABILITY}
    amounts = {}
    for name, amount in predicted.items():
        if name in events:
            continue
        event = bringing_event(head_of("gmv" if name == "commission" else name)).label
        if event in predicted:
            amounts[name] = amount**2 / np.maximum(predicted[event], 1e-12)
    return {n: p for n, p in predicted.items() if n in events} | amounts


def _traits(slates: pa.Table, mask: np.ndarray) -> dict[str, np.ndarray]:
    traits = {}
    for trait, name in (("newcomer", "newness"), ("quality", "quality")):
        logged = numeric_features(slates, name)
        if len(logged.values) == mask.sum():
            traits[trait] = pad(to_numpy(logged.values).astype(np.float64), mask)
    if "newcomer" in traits:
        traits["newcomer"] = (traits["newcomer"] >= NEWCOMER).astype(np.float64)
    return traits


def logged_exposure(
    slates: pa.Table,
    policy: ValuePolicy,
    inputs: LoggedSlates,
    examination: np.ndarray,
    segment: np.ndarray,
    *,
    rng: np.random.Generator,
) -> np.ndarray | None:
    """[R, n]: of the policy's exploration; None where it has none that spreads exposure."""
    exploration = None if policy.slate is None else policy.slate.exploration
    position = pad(page_places(slates)[0], inputs.mask)
    if exploration is None or isinstance(exploration, EpsilonGreedy):
        return None
    if isinstance(exploration, PerturbedWeights):
        centre = request_weights(policy, inputs.surface, segment)
        _check_draws(slates, exploration, centre)
        sweep = Sweep.of(policy, inputs, added=pad(shadow_prices(slates), inputs.mask))
        order = _shown_order(slates, inputs.mask, examination.shape[1])
        drawn = perturbed_propensity(sweep, centre, exploration, order)
        _check(slates, of_places(drawn, position), position, inputs.mask, of="the draws' rankings")
        return of_perturbed(sweep, centre, exploration, examination)
    logits = log_odds(slates) / exploration.temperature
    tiers = TierSlates.of(inputs.mask, inputs.tier)
    utility, places = tiers.split(pad(logits, inputs.mask), absent=LOWEST), tiers.places(position)
    offsets = np.append(0, np.cumsum(tiers.mask.sum(axis=1)))
    chance = plackett_luce(utility[tiers.mask], places[tiers.mask], offsets, depth=examination.shape[1])
    expected = tiers.joined(of_places(chance, places), absent=np.nan)
    _check(slates, expected, position, inputs.mask, of="Plackett-Luce")
    return tiers.joined(of_plackett_luce(utility, tiers.examination(examination), rng=rng).probability)


def _check_draws(slates: pa.Table, design: PerturbedWeights, centre: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError where the logged weights are not one of the draws around the policy's own."""
    for name in design.names:
        logged, spread = weights(slates, name), np.exp(design.sigma * np.array([[-1.0], [1.0]]))
        gap = np.abs(logged - centre[name] * spread).min(axis=0)
        if not (gap <= MOST_GAP * design.sigma * np.abs(centre[name])).all():
            worst = int(np.nan_to_num(gap, nan=np.inf).argmax())
            raise ValueError(
                f"request {slates['request_id'][worst]}: weight {name!r} was logged as "
                f"{logged[worst]:g}, which is no draw around {centre[name][worst]:g} with sigma "
                f"{design.sigma:g}: the log is another policy's, or its segments differ."
            )


def _shown_order(slates: pa.Table, mask: np.ndarray, depth: int) -> np.ndarray:
    """int [R, depth]: the column of the item shown at each place; -1 = none."""
    column = np.broadcast_to(np.arange(mask.shape[1], dtype=np.float64), mask.shape)[mask]
    place, offsets = page_places(slates)[0], item_offsets(slates)
    return np.nan_to_num(by_position(column, place, offsets, depth=depth), nan=-1.0).astype(np.int64)


def of_places(conditional: np.ndarray, position: np.ndarray) -> np.ndarray:
    """[R, n]: of each item's place (1-based, 0 = not shown) what [R, K] says; NaN where it is not shown."""
    place = np.clip(position - 1, 0, conditional.shape[1] - 1)
    return np.where(position > 0, np.take_along_axis(conditional, place, axis=1), np.nan)


def _check(slates: pa.Table, expected: np.ndarray, position: np.ndarray, mask: np.ndarray, *, of: str) -> None:
    """Raises ValueError where the logged propensities of what was shown are not the expected ones, [R, n]."""
    logged = pad(recorded_propensity(slates), mask)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(position > 0, np.abs(logged / expected - 1), 0.0)
    if not (gap <= MOST_GAP).all():
        gap = np.nan_to_num(gap, nan=np.inf).max(axis=1)
        worst = int(gap.argmax())
        raise ValueError(
            f"request {slates['request_id'][worst]}: its propensities are not {of} of its values "
            f"(off by {gap[worst]:.2g}): rules, diversity or another policy changed the slate, so that exposures "
            "cannot be told."
        )
