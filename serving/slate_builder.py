"""Slate builder: a ranked request as the slate that is answered and logged, the shortlist with all its evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from features.history_columns import OF_ITEM, WORDS
from features.snapshot import FeatureSnapshot
from features.spec import FeatureSpec, Group, Kind, ModelInputs
from marketplace.schema import (
    ABOVE_KEY,
    COLUMN_PARTS,
    CONSIDERED_KEY,
    CURSOR_KEY,
    FILTERS_KEY,
    FORMULA_PREFIX,
    LIST_ODDS,
    LIST_PLACE,
    PLACES_KEY,
    RANKED_KEY,
    RELEVANCE,
    RESERVED_CONTEXT,
    RIVAL_ODDS,
    SCORER_KEY,
    SEED_KEY,
    SEGMENT_KEY,
    SURFACES_KEY,
    UNSCORED_KEY,
)
from marketplace.slate import Slate
from serving.candidate_features import CandidateFeatures
from serving.item_table import ItemTable
from serving.request import Request
from serving.valuation import Values
from value_model.slate_policies.interleaving import MixedChoice
from value_model.slate_policies.slate_policy import SlateChoice


@dataclass(frozen=True, eq=False)
class ScoredCandidates:
    """n candidates of one request, with heads float64 [n] and values."""

    known: CandidateFeatures
    heads: Mapping[str, np.ndarray]
    values: Values
    scorer: str = ""  # which of several


def build_slate(
    request: Request,
    scored: ScoredCandidates,
    shortlist: np.ndarray,
    choice: SlateChoice,
    *,
    item_table: ItemTable,
    versions: Mapping[str, str],
    currency: str,
    exposure: Mapping[str, str],
    further: Mapping[str, np.ndarray],
) -> Slate:
    """The candidates at the positions `shortlist`, in the order of retrieval; `choice` is among them.

    `exposure`: the slate's `experiment` and `variant`; empty outside experiments. `further` are entries of `numeric`.
    """
    known, snapshot = scored.known, scored.known.snapshot
    candidates, values, rows = known.candidates.select(shortlist), scored.values.only(shortlist), known.rows[shortlist]
    numeric = numeric_features(known.inputs, shortlist, snapshot.spec)
    numeric |= logged_quantities(values.quantities, numeric)
    position, propensity = places(choice, len(rows), above=request.places_above)
    reserved: dict[str, int | str] = {
        SEED_KEY: request.draw_seed,
        PLACES_KEY: request.k,
        CONSIDERED_KEY: known.considered,
        SEGMENT_KEY: known.segment,
        SURFACES_KEY: versions["surfaces"],
        **page_entries(request),
    }
    if known.first is not None:
        reserved[RANKED_KEY] = len(known.rows)
        numeric |= known.first.entries(shortlist)
    if candidates.unscored:
        reserved[UNSCORED_KEY] = candidates.unscored
    if scored.scorer:
        reserved[SCORER_KEY] = scored.scorer
    numeric |= mixed_entries(choice, len(rows))
    if known.search is not None:
        numeric[RELEVANCE] = known.search.grade[shortlist]
        reserved |= known.search.entries(shortlist[choice.order])
    return Slate(
        **request_columns(request, reserved),
        currency=currency,
        item_id=item_table.item_id[rows],
        merchant_id=item_table.merchant_id[rows],
        price=snapshot.state.price[shortlist],
        source=candidates.source_name,
        retrieval_score=candidates.score,
        merchant_value=values.merchant_value,
        value=values.value,
        weights=values.weights,
        position=position,
        propensity=propensity,
        predictions={head: predicted[shortlist] for head, predicted in scored.heads.items()},
        numeric={**numeric, **further},
        categorical=categorical_features(snapshot, item_table, rows, shortlist),
        **{f"{part}_version": versions[part] for part in COLUMN_PARTS},  # type: ignore[arg-type]
        **exposure,  # type: ignore[arg-type]
    )


def mixed_entries(choice: SlateChoice, n: int) -> dict[str, np.ndarray]:
    """Of an interleaved slate: items' places in each list, the lists' odds, and the odds that the rival placed each."""
    if not isinstance(choice, MixedChoice):
        return {}
    mixture, rival = choice.mixture, np.zeros(n, np.float32)
    rival[choice.order] = mixture.team_odds(choice.shown, teams=2)[:, 1]
    places, odds = mixture.places(n).astype(np.float32), mixture.probability.astype(np.float32)
    entries = {f"{LIST_PLACE}{number}": column for number, column in enumerate(places.T)}
    return entries | {f"{LIST_ODDS}{number}": odds[[number]] for number in range(len(odds))} | {RIVAL_ODDS: rival}


def request_columns(request: Request, reserved: Mapping[str, Any]) -> dict[str, Any]:
    """A slate's columns that say what it answers; its context is the caller's, and `reserved` entries beside it."""
    return {
        "request_id": request.request_id,
        "time": request.time,
        "surface": request.surface,
        "user_id": request.user_id,
        "session_id": request.session_id,
        "query": request.query,
        "page_merchant_id": request.page_merchant_id,
        "page_item_id": request.page_item_id,
        "context": {**callers_context(request), **{name: str(entry) for name, entry in reserved.items()}},
    }


def callers_context(request: Request) -> dict[str, str]:
    """The caller's entries of the context, but for those that the service writes."""
    return {name: entry for name, entry in request.context.items() if name not in RESERVED_CONTEXT}


def page_entries(request: Request) -> dict[str, str]:
    """What narrowed the request's list, as entries of the context."""
    entries = {}
    if request.filters:
        narrow = {name: value for name, value in asdict(request.filters).items() if value}
        entries[FILTERS_KEY] = json.dumps(narrow, ensure_ascii=False)
    if request.cursor is not None:
        entries |= {CURSOR_KEY: request.cursor, ABOVE_KEY: str(request.places_above)}
    return entries


def places(chosen: SlateChoice, n: int, *, above: int) -> tuple[np.ndarray, np.ndarray]:
    """Position int32 [n] (0 = not shown) and propensity float64 [n] (NaN = not shown) of a choice among n.

    The first stands at `above` + 1: so many places of the list are on earlier pages.
    """
    position, propensity = np.zeros(n, np.int32), np.full(n, np.nan)
    position[chosen.order] = np.arange(above + 1, above + len(chosen.order) + 1)
    propensity[chosen.order] = chosen.propensity
    return position, propensity


def numeric_features(inputs: ModelInputs, shortlist: np.ndarray, spec: FeatureSpec) -> dict[str, np.ndarray]:
    """float32 by name, length 1 (user) or that of the shortlist: as `features.served` reads them."""
    numbers = {
        Group.USER: inputs.user_numbers,
        Group.ITEM: inputs.item_numbers.take(shortlist, axis=0),
        Group.CROSS: inputs.cross_numbers.take(shortlist, axis=0),
    }
    columns: dict[str, np.ndarray] = {}
    for group, rows in numbers.items():
        names = (feature.name for feature in spec.select(group, Kind.NUMBER))
        columns |= zip(names, np.ascontiguousarray(rows.T), strict=True)
    return columns


def categorical_features(
    snapshot: FeatureSnapshot, item_table: ItemTable, rows: np.ndarray, shortlist: np.ndarray
) -> dict[str, np.ndarray]:
    """Text by name: length 1 or a history's own (user), or n; `rows` are the catalogue's of the `shortlist`."""
    history = snapshot.history[0][snapshot.history[0] >= 0]
    columns = {}
    for feature in snapshot.spec.features:
        if feature.kind is Kind.NUMBER:
            continue
        if feature.group is Group.ITEM:
            columns[feature.name] = item_table.logged[feature.name][rows]
        elif feature.group is Group.CROSS:
            words = snapshot.candidate_words[feature.name].take(pa.array(shortlist))
            columns[feature.name] = words.to_numpy(zero_copy_only=False)
        elif feature.name in OF_ITEM:
            columns[feature.name] = item_table.logged[OF_ITEM[feature.name]][history]
        elif feature.name in WORDS:
            columns[feature.name] = snapshot.history_words(feature.name)
        else:
            value = snapshot.user_value(feature.name)
            columns[feature.name] = np.array(value if isinstance(value, list) else [value], object)
    return columns


def logged_quantities(quantities: Mapping[str, np.ndarray], numeric: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The quantities as entries of the log beside the features `numeric`, each once."""
    entries = {}
    for name, values in quantities.items():
        if name not in numeric:
            entries[name] = values
        elif not np.array_equal(numeric[name], values):
            entries[FORMULA_PREFIX + name] = values
    return entries
