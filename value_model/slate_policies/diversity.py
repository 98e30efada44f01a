"""Diversity: what an item is worth less for because something like it stands above.

Both ways add to the value, in the value's unit, so that `strength` reads as money: what a perfect repeat costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np

from value_model.slate_policies.slate_policy import ItemAttributes


@dataclass(frozen=True)
class Similarity:
    """s(i, j) = merchant [same merchant] + category [same category] + embedding cos(i, j); parts sum to 1."""

    merchant: float = 0.0
    category: float = 0.0
    embedding: float = 0.0

    def __post_init__(self) -> None:
        parts = (self.merchant, self.category, self.embedding)
        if min(parts) < 0 or abs(sum(parts) - 1.0) > 1e-9:
            raise ValueError(f"similarity parts are {parts}; they must be 0 or more and sum to 1.")

    @property
    def reads(self) -> tuple[str, ...]:
        """The item attributes that count."""
        return tuple(name for name, weight in asdict(self).items() if weight)

    def rows(self, attributes: ItemAttributes, *, n: int) -> Callable[[int], np.ndarray]:
        """The function from an item to its similarity with all, float32 [n]."""
        codes = [
            (np.float32(weight), attributes[name])
            for name, weight in (("merchant", self.merchant), ("category", self.category))
            if weight
        ]
        vectors = attributes["embedding"] if self.embedding else None
        share = np.float32(self.embedding)

        def row(item: int) -> np.ndarray:
            total = np.zeros(n, np.float32) if vectors is None else vectors @ (share * vectors[item])
            for weight, column in codes:
                total += weight * (column == column[item])
            return total

        return row


class Adjustment(Protocol):
    """The state of one slate under way: `worth` float64 [n] is added to the values."""

    worth: np.ndarray

    def take(self, row: int) -> None: ...


class Diversity(Protocol):
    """A way to prefer slates whose items differ: a table of [slate] with its `kind`."""

    @property
    def kind(self) -> str: ...

    @property
    def reads(self) -> tuple[str, ...]: ...

    def to_toml(self) -> dict[str, Any]: ...

    def scaled(self, factor: float) -> Diversity:
        """The same where one unit of value is called `factor`."""
        ...

    def begin(self, attributes: ItemAttributes, *, n: int, k: int) -> Adjustment: ...


@dataclass(frozen=True)
class MMR:
    """Maximal marginal relevance: value - strength * max over items above of s (Carbonell and Goldstein 1998)."""

    strength: float
    similarity: Similarity
    kind: ClassVar[str] = "mmr"

    @property
    def reads(self) -> tuple[str, ...]:
        return self.similarity.reads

    def to_toml(self) -> dict[str, Any]:
        return _table(self)

    def scaled(self, factor: float) -> MMR:
        return replace(self, strength=self.strength * factor)

    def begin(self, attributes: ItemAttributes, *, n: int, k: int) -> Adjustment:
        return _Marginal(-self.strength, self.similarity.rows(attributes, n=n), n)


class _Marginal:
    def __init__(self, factor: float, rows: Callable[[int], np.ndarray], n: int) -> None:
        self.worth = np.zeros(n)
        self._factor = factor
        self._rows = rows
        self._first = True

    def take(self, row: int) -> None:
        penalty = self._rows(row)
        penalty *= self._factor
        if self._first:
            self.worth[:] = penalty
            self._first = False
        else:
            np.minimum(self.worth, penalty, out=self.worth)


@dataclass(frozen=True)
class DPP:
    """Determinantal point process, greedy MAP: value + strength * log det gain of the similarity kernel.

    The gain of item i is log(d_i^2), the squared distance of i from the span of the items above in the kernel's
    space, kept by an incremental Cholesky factor: O(n k) a place (Chen, Zhang and Zhou 2018, algorithm 1).
    `floor` keeps an exact repeat finite: it costs strength * -log(floor).
    """

    strength: float
    similarity: Similarity
    floor: float = 1e-6
    kind: ClassVar[str] = "dpp"

    @property
    def reads(self) -> tuple[str, ...]:
        return self.similarity.reads

    def to_toml(self) -> dict[str, Any]:
        return _table(self)

    def scaled(self, factor: float) -> DPP:
        return replace(self, strength=self.strength * factor)

    def begin(self, attributes: ItemAttributes, *, n: int, k: int) -> Adjustment:
        return _Determinant(self, self.similarity.rows(attributes, n=n), n, k)


class _Determinant:
    def __init__(self, dpp: DPP, rows: Callable[[int], np.ndarray], n: int, k: int) -> None:
        self.worth = np.zeros(n)
        self._dpp = dpp
        self._rows = rows
        self._distance = np.ones(n)  # d^2
        self._factor = np.empty((k, n))
        self._taken = 0

    def take(self, row: int) -> None:
        above = self._factor[: self._taken]
        gain = max(float(self._distance[row]), self._dpp.floor)
        column = self._factor[self._taken]
        np.subtract(self._rows(row), above[:, row] @ above, out=column)
        column *= 1.0 / math.sqrt(gain)
        self._taken += 1
        self._distance -= column * column
        np.maximum(self._distance, self._dpp.floor, out=self._distance)
        np.log(self._distance, out=self.worth)
        self.worth *= self._dpp.strength


def _table(diversity: MMR | DPP) -> dict[str, Any]:
    return {"kind": diversity.kind, "strength": diversity.strength, **asdict(diversity.similarity)}


DIVERSITIES = {diversity.kind: diversity for diversity in (MMR, DPP)}
