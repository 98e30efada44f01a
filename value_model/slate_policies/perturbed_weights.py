"""Weights that vary from request to request: a factorial experiment inside the ranking.

Each weight is multiplied by exp(+sigma) or exp(-sigma), independently and with equal odds; the draw is logged with
the slate (its `weights`). The slate given the draw is greedy; over the 2^m draws its propensities are counted exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from value_model.policy import Chosen, best, finite

MOST_WEIGHTS = 10  # 1024 draws, each of which is ranked to count the exact propensities


@dataclass(frozen=True)
class PerturbedWeights:
    """Multiplies the weights `names` by exp(+-sigma); 0.1 = about 10 % up or down."""

    sigma: float
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= 2:
            raise ValueError(f"sigma is {self.sigma}; write a number above 0 and at most 2.")
        if not 0 < len(set(self.names)) == len(self.names) <= MOST_WEIGHTS:
            raise ValueError(f"names are {self.names}; write 1 to {MOST_WEIGHTS} different weights.")

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

    def choose(self, values: np.ndarray, *, k: int, draw: int) -> Chosen:
        """The greedy slate of one draw, from values [draws, n] under every draw.

        propensity[j] = (draws whose first j + 1 items are these) / (draws whose first j items are these).
        """
        if len(values) != self.draws:
            raise ValueError(f"values have {len(values)} rows; {self.draws} draws were expected: evaluate the grid.")
        orders = np.stack([best(finite(row), k) for row in values])
        order = orders[draw]
        agrees = np.logical_and.accumulate(orders == order, axis=1).sum(axis=0)
        return Chosen(order, agrees / np.concatenate([[self.draws], agrees[:-1]]))
