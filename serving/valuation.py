"""From predictions to the ranking value: the policy's formula on heads, price, merchant quantities and features.

A policy that perturbs its weights is evaluated under all draws at once; the request's own follows from its seed. With a
rival beside it (`serving.interleaving`), what a choice goes by are the values of both.

Quantities and shadow prices are rounded to float32 before they are used, since that is how they are logged: a replay
computes from the very same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from features.spec import FeatureSpec, Kind, ModelInputs
from marketplace.heads import products
from marketplace.schema import FORMULA_PREFIX, SHADOW_PRICE
from marketplace.slate import Slate
from serving.interleaving import Rival
from serving.manifest import BundleError
from value_model.formula import ValuePolicy, evaluate_all
from value_model.formula.explain import explain
from value_model.merchant import NAMES, ItemMerchants
from value_model.slate_policies.perturbed_weights import PerturbedWeights

MARGIN = "margin"
QUANTITIES = (*NAMES, MARGIN)  # known of an item or its merchant, without a model
SLATE_COLUMNS = ("price", "retrieval_score")  # columns of a slate, logged under their own name


def readable(heads: Iterable[str], spec: FeatureSpec) -> frozenset[str]:
    """What a formula may read where a ranker predicts `heads`, and `spec` has the features."""
    heads, numbers = tuple(heads), (feature.name for feature in spec.features if feature.kind is Kind.NUMBER)
    return frozenset({*heads, *(head.name for head in products(heads)), *SLATE_COLUMNS, *QUANTITIES, *numbers})


@dataclass(frozen=True, eq=False)
class Values:
    """Values float64 [n], merchant values float64 [n], and the weights as applied.

    `ranked` is what a choice goes by: the values and their merchants' shadow prices, float64 [n], or [D, n] under
    every draw of perturbed weights, of which the request took number `draw`, or [2, n] beside a rival's.
    """

    value: np.ndarray
    merchant_value: np.ndarray
    weights: Mapping[str, float]
    ranked: np.ndarray
    draw: int = 0
    quantities: Mapping[str, np.ndarray] = field(default_factory=dict)  # float32 [n]: what is logged beside features

    def only(self, kept: np.ndarray) -> Values:
        """Those at the positions `kept`."""
        value = self.value[kept]
        ranked = value if self.ranked is self.value else self.ranked[..., kept]
        quantities = {name: column[kept] for name, column in self.quantities.items()}
        return Values(value, self.merchant_value[kept], self.weights, ranked, self.draw, quantities)


class Valuation:
    """One value policy over one catalogue, with the `merchants` and the `margin` (float64 [n_items]) of its items.

    `features`: the numbers of `spec` that the formula reads, as served: of the request, the item, or both.
    """

    def __init__(
        self,
        policy: ValuePolicy,
        merchants: ItemMerchants,
        *,
        margin: np.ndarray,
        spec: FeatureSpec,
        rival: Rival | None = None,
    ) -> None:
        self.policy, self._merchants, self._margin = policy, merchants, margin
        self._spec, self._rival = spec, None if rival is None else rival.policy
        inputs = dict.fromkeys((*policy.inputs, *(() if rival is None else rival.policy.inputs)))
        self.quantities = tuple(name for name in inputs if name in QUANTITIES)
        self._of_merchants = tuple(name for name in self.quantities if name != MARGIN)
        numbers = {feature.name for feature in spec.features if feature.kind is Kind.NUMBER}
        self.features = frozenset(numbers.intersection(inputs) - {*QUANTITIES, *SLATE_COLUMNS})
        self.exposure = None if policy.slate is None else policy.slate.exposure
        self._logged = (*self.quantities, *self.features, *([] if self.exposure is None else [SHADOW_PRICE]))
        self._perturbed = None if policy.slate is None else policy.slate.perturbed_weights

    def check(self, heads: tuple[str, ...]) -> None:
        """Raise BundleError where the formula reads something that is neither predicted nor known."""
        supplied = readable(heads, self._spec)
        for policy in (self.policy, *(() if self._rival is None else (self._rival,))):
            missing = [name for name in policy.inputs if name not in supplied]
            if not missing:
                continue
            raise BundleError(
                f"value policy {policy.name!r} reads {missing}, which this ranker does not predict and which is "
                f"no numeric feature of it; there are {sorted(supplied)}. Choose another policy, as `purchases` where "
                "no clicks are recorded."
            )

    def value_candidates(
        self,
        columns: Mapping[str, np.ndarray],
        inputs: ModelInputs,
        rows: np.ndarray,
        *,
        time: datetime,
        surface: str,
        segment: str,
        seed: int,
        shadow_price: np.ndarray | None = None,
    ) -> Values:
        """Of n candidates: heads and slate columns, model inputs, and catalogue rows int32 [n].

        `shadow_price` float32 [n] are the merchants' at `time`, None = the policy promises no exposure.
        """
        quantities = self.quantities_of(rows, time=time)
        if shadow_price is not None:
            quantities[SHADOW_PRICE] = shadow_price
        features = inputs.numbers(self._spec, self.features) if self.features else {}
        values = self.value({**features, **quantities, **columns}, surface=surface, segment=segment, seed=seed)
        return replace(values, quantities=quantities)

    def quantities_of(self, rows: np.ndarray, *, time: datetime) -> dict[str, np.ndarray]:
        """float32 [n]: the quantities that the formula reads, of catalogue rows at `time`."""
        known = self._merchants.quantities(rows, self._of_merchants, time=time)
        if MARGIN in self.quantities:
            known[MARGIN] = self._margin[rows]
        return {name: known[name].astype(np.float32) for name in self.quantities}

    def value(self, columns: Mapping[str, np.ndarray], *, surface: str, segment: str | None, seed: int) -> Values:
        """Under the weights of the surface and segment, or the draw of `seed` around them.

        A policy without an expression `merchant_value` says nothing of it: 0.
        """
        weights = self.policy.weights_for(surface=surface, segment=segment)
        if self._perturbed is not None:
            return self._drawn(columns, self._perturbed, weights, seed)
        named = evaluate_all(self.policy, columns, weights=weights)
        value, price = named[self.policy.result], columns.get(SHADOW_PRICE)
        ranked = value if price is None else value + price
        if self._rival is not None:
            theirs = self._rival.weights_for(surface=surface, segment=segment)
            ranked = np.stack([ranked, evaluate_all(self._rival, columns, weights=theirs)[self._rival.result]])
        return Values(value, named.get("merchant_value", np.zeros_like(value)), weights, ranked)

    def _drawn(
        self, columns: Mapping[str, np.ndarray], perturbed: PerturbedWeights, weights: Mapping[str, float], seed: int
    ) -> Values:
        named = evaluate_all(self.policy, columns, weights=perturbed.grid(weights))
        draw = perturbed.draw(np.random.default_rng(seed))
        shape = (perturbed.draws, len(columns["price"]))
        values = np.broadcast_to(named[self.policy.result], shape)
        merchant_value = np.broadcast_to(named.get("merchant_value", 0.0), shape)[draw].copy()
        ranked = values + columns.get(SHADOW_PRICE, 0.0)
        return Values(values[draw].copy(), merchant_value, perturbed.weights(weights, draw), ranked, draw)

    def columns(self, slate: Slate) -> dict[str, np.ndarray]:
        """What the formula read, and the shadow prices, from a slate as it was logged."""
        numeric = {name: slate.numeric.get(FORMULA_PREFIX + name, slate.numeric.get(name)) for name in self._logged}
        if missing := [name for name, values in numeric.items() if values is None]:
            raise ValueError(f"slate {slate.request_id!r} does not hold {missing}, which the policy reads.")
        columns = {name: getattr(slate, name) for name in SLATE_COLUMNS}
        return {**slate.predictions, **columns, **numeric}  # type: ignore[dict-item]

    def explain(self, slate: Slate) -> dict[str, np.ndarray]:
        """Value per term, float64 [n] each, from the slate as it was logged; the terms sum to its values."""
        explanation = explain(self.policy, self.columns(slate), weights=slate.weights)
        terms = dict(zip(explanation.labels, explanation.contributions, strict=True))
        return terms if not explanation.baseline.any() else {"baseline": explanation.baseline, **terms}
