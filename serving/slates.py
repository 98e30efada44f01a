"""A ranked request as the slate that is answered and logged: every candidate, with all that it was judged by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.known import HISTORIES, Known
from features.spec import FeatureSpec, Group, Kind, ModelInputs
from marketplace.slate import Slate
from serving.finder import Found
from serving.request import Request, seed_of
from serving.shelf import Shelf
from serving.valuation import Valued, logged_quantities
from value_model.policy import Chosen

SEED = "seed"  # the entry of a slate's context that holds the seed of its random draws


def build_slate(
    request: Request,
    found: Found,
    known: Known,
    inputs: ModelInputs,
    heads: Mapping[str, np.ndarray],
    *,
    quantities: Mapping[str, np.ndarray],
    valued: Valued,
    chosen: Chosen,
    shelf: Shelf,
    versions: Mapping[str, str],
    currency: str,
) -> Slate:
    """Candidates in the order in which they were found; `position` and `propensity` say what was shown."""
    rows = found.rows
    numeric = numeric_features(inputs, known.spec)
    position, propensity = places(chosen, len(rows))
    return Slate(
        request_id=request.request_id,
        time=request.time,
        surface=request.surface,
        user_id=request.user_id,
        session_id=request.session_id,
        query=request.query,
        page_merchant_id=request.page_merchant_id,
        page_item_id=request.page_item_id,
        context={**request.context, SEED: str(seed_of(request))},
        currency=currency,
        item_id=shelf.item_id[rows],
        merchant_id=shelf.merchant_id[rows],
        price=shelf.price[rows],
        source=found.source,
        retrieval_score=found.score,
        merchant_value=valued.merchant_value,
        value=valued.value,
        weights=valued.weights,
        position=position,
        propensity=propensity,
        predictions=heads,
        numeric={**numeric, **logged_quantities(quantities, numeric)},
        categorical=categorical_features(known, shelf, rows),
        **{f"{part}_version": version for part, version in versions.items()},  # type: ignore[arg-type]
    )


def places(chosen: Chosen, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Position int32 [n] (0 = not shown) and propensity float64 [n] (NaN = not shown) of a choice among n."""
    position, propensity = np.zeros(n, np.int32), np.full(n, np.nan)
    position[chosen.order] = np.arange(1, len(chosen.order) + 1)
    propensity[chosen.order] = chosen.propensity
    return position, propensity


def numeric_features(inputs: ModelInputs, spec: FeatureSpec) -> dict[str, np.ndarray]:
    """float32 by name, length 1 (user) or n: as `features.served` reads them."""
    packed = {
        Group.USER: inputs.user_numbers,
        Group.ITEM: inputs.item_numbers,
        Group.CROSS: inputs.cross_numbers,
    }
    columns: dict[str, np.ndarray] = {}
    for group, numbers in packed.items():
        columns |= zip((feature.name for feature in spec.select(group, Kind.NUMBER)), numbers.T, strict=True)
    return columns


def categorical_features(known: Known, shelf: Shelf, rows: np.ndarray) -> dict[str, np.ndarray]:
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
            values = known.text[feature.name]
            texts = values.flatten() if feature.kind is Kind.CATEGORIES else values
            columns[feature.name] = texts.to_numpy(zero_copy_only=False)
    return columns
