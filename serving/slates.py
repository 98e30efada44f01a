"""A ranked request as the slate that is answered and logged: the shortlist, with all that it was judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from features.snapshot import HISTORIES, FeatureSnapshot
from features.spec import FeatureSpec, Group, Kind, ModelInputs
from marketplace.slate import Slate
from serving.candidate_generation import GeneratedCandidates
from serving.item_table import ItemTable
from serving.request import Request, seed_of
from serving.valuation import Values, logged_quantities
from value_model.slate_policies.slate_policy import SlateChoice

# Entries of a slate's context that the service adds: the seed of its random draws, the places that were asked for,
# how many candidates were scored, of which the slate keeps the shortlist, and the group whose weights applied.
SEED, PLACES, CONSIDERED, SEGMENT = "seed", "k", "considered", "segment"


@dataclass(frozen=True, eq=False)
class ScoredCandidates:
    """n candidates of one request with all that they were judged by."""

    found: GeneratedCandidates
    numbers: Mapping[Group, np.ndarray]  # float32 [1 or n, numbers of the group]
    heads: Mapping[str, np.ndarray]
    quantities: Mapping[str, np.ndarray]
    valued: Values

    def only(self, kept: np.ndarray) -> ScoredCandidates:
        """Those at the positions `kept` (increasing)."""
        if len(kept) == len(self.found.rows):
            return self
        return ScoredCandidates(
            self.found.only(kept),
            {group: rows if group is Group.USER else rows[kept] for group, rows in self.numbers.items()},
            {name: values[kept] for name, values in self.heads.items()},
            {name: values[kept] for name, values in self.quantities.items()},
            self.valued.only(kept),
        )


def build_slate(
    request: Request,
    judged: ScoredCandidates,
    known: FeatureSnapshot,
    chosen: SlateChoice,
    *,
    considered: int,
    segment: str,
    shelf: ItemTable,
    versions: Mapping[str, str],
    currency: str,
) -> Slate:
    """The shortlist in the order in which it was found; `position` and `propensity` say what was shown."""
    found, valued, rows = judged.found, judged.valued, judged.found.rows
    numeric = numeric_features(judged.numbers, known.spec)
    position, propensity = places(chosen, len(rows))
    told = {SEED: str(seed_of(request)), PLACES: str(request.k), CONSIDERED: str(considered), SEGMENT: segment}
    return Slate(
        request_id=request.request_id,
        time=request.time,
        surface=request.surface,
        user_id=request.user_id,
        session_id=request.session_id,
        query=request.query,
        page_merchant_id=request.page_merchant_id,
        page_item_id=request.page_item_id,
        context={**request.context, **told},
        currency=currency,
        item_id=shelf.item_id[rows],
        merchant_id=shelf.merchant_id[rows],
        price=shelf.price[rows],
        source=found.source_name,
        retrieval_score=found.score,
        merchant_value=valued.merchant_value,
        value=valued.value,
        weights=valued.weights,
        position=position,
        propensity=propensity,
        predictions=judged.heads,
        numeric={**numeric, **logged_quantities(judged.quantities, numeric)},
        categorical=categorical_features(known, shelf, rows),
        **{f"{part}_version": version for part, version in versions.items()},  # type: ignore[arg-type]
    )


def considered(slate: Slate) -> int:
    """How many candidates were scored for a slate; all that it holds, where it does not say."""
    return int(slate.context.get(CONSIDERED) or len(slate))


def places(chosen: SlateChoice, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Position int32 [n] (0 = not shown) and propensity float64 [n] (NaN = not shown) of a choice among n."""
    position, propensity = np.zeros(n, np.int32), np.full(n, np.nan)
    position[chosen.order] = np.arange(1, len(chosen.order) + 1)
    propensity[chosen.order] = chosen.propensity
    return position, propensity


def numbers_of(inputs: ModelInputs) -> dict[Group, np.ndarray]:
    """The numbers of packed inputs by group."""
    return {Group.USER: inputs.user_numbers, Group.ITEM: inputs.item_numbers, Group.CROSS: inputs.cross_numbers}


def numeric_features(numbers: Mapping[Group, np.ndarray], spec: FeatureSpec) -> dict[str, np.ndarray]:
    """float32 by name, length 1 (user) or n: as `features.served` reads them."""
    columns: dict[str, np.ndarray] = {}
    for group, rows in numbers.items():
        names = (feature.name for feature in spec.select(group, Kind.NUMBER))
        columns |= zip(names, np.ascontiguousarray(rows.T), strict=True)
    return columns


def categorical_features(known: FeatureSnapshot, shelf: ItemTable, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Text by name: length 1 or a history's own (user), or n."""
    history = known.history[0][known.history[0] >= 0]
    columns = {}
    for feature in known.spec.features:
        if feature.kind is Kind.NUMBER:
            continue
        if feature.group is Group.ITEM:
            columns[feature.name] = shelf.logged[feature.name][rows]
        elif feature.name in HISTORIES:
            columns[feature.name] = shelf.logged[HISTORIES[feature.name]][history]
        else:
            said = known.user_value(feature.name)
            columns[feature.name] = np.array(said if isinstance(said, list) else [said], object)
    return columns
