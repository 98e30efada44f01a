"""Weights that vary from request to request: a factorial experiment inside the ranking.

Each weight is multiplied by exp(+sigma) or exp(-sigma), independently and with equal odds; the draw is logged with
the slate (its `weights`). Propensities are taken over all 2^m draws, so that they are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from value_model.slate_policies.slate_policy import NO_ATTRIBUTES, Greedy, ItemAttributes, SlateChoice, SlatePolicy

GREEDY = Greedy()
MOST_PERTURBED = 10  # weights: 1024 draws, each of which is ranked to count the exact propensities


@dataclass(frozen=True)
class PerturbedWeights:
    """Multiplies the weights `names` by exp(+-sigma); 0.1 = about 10 % up or down."""

    sigma: float
    names: tuple[str, ...]
    kind: ClassVar[str] = "perturbed_weights"
    amount: ClassVar[str] = "sigma"
    most: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= self.most:
            raise ValueError(f"sigma is {self.sigma}; write a number above 0 and at most 2.")
        if not 0 < len(set(self.names)) == len(self.names) <= MOST_PERTURBED:
            raise ValueError(f"names are {self.names}; write 1 to {MOST_PERTURBED} different weights.")

    def to_toml(self) -> dict[str, Any]:
        return {"kind": self.kind, self.amount: self.sigma, "weights": list(self.names)}

    def scaled(self, factor: float) -> PerturbedWeights:
        """A factor has no unit."""
        return self

    @property
    def draws(self) -> int:
        return 2 ** len(self.names)

    def draw(self, rng: np.random.Generator) -> int:
        """Which of the draws this request takes."""
        return int(rng.integers(self.draws))

    def weights(self, weights: Mapping[str, float], draw: int) -> dict[str, float]:
        """The weights of one draw: what ranks the request and what its log records."""
        return {name: float(np.ravel(grid)[draw % np.size(grid)]) for name, grid in self.grid(weights).items()}

    def grid(self, weights: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Every draw at once, for `evaluate`: arrays [draws, 1], and [1, 1] for weights that do not vary."""
        numbers = np.arange(self.draws)[:, None]
        bit = {name: numbers >> i & 1 for i, name in enumerate(self.names)}
        return {
            name: weight * np.exp(self.sigma * (2.0 * bit[name] - 1.0)) if name in bit else np.full((1, 1), weight)
            for name, weight in weights.items()
        }

    def choose(
        self,
        values: np.ndarray,
        *,
        k: int,
        draw: int,
        slate: SlatePolicy = GREEDY,
        attributes: ItemAttributes = NO_ATTRIBUTES,
        rng: np.random.Generator | None = None,
    ) -> SlateChoice:
        """The slate of one draw, from values [draws, n] under every draw; `slate` fills it.

        propensity[j] = P(order[: j + 1]) / P(order[: j]), each the mean over draws of the product of `slate`'s own
        propensities: for the greedy slate, the share of draws that agree so far. A random `slate` needs `rng`.
        """
        if len(values) != self.draws:
            raise ValueError(f"values have {len(values)} rows; {self.draws} draws were expected: evaluate the grid.")
        rng = np.random.default_rng(0) if rng is None else rng
        order = slate.choose(values[draw], k=k, rng=rng, attributes=attributes).order
        prefixes = [np.cumprod(slate.propensity(row, order, k=k, attributes=attributes)) for row in values]
        likely = np.concatenate([[1.0], np.mean(prefixes, axis=0)])
        return SlateChoice(order, likely[1:] / likely[:-1])
