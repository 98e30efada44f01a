"""What a tree library has to do: grow a booster from rows, score a table, and say what its trees are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np

from value_model.rankers.config import TreesConfig
from value_model.rankers.forest import Forest


class Objective(StrEnum):
    """What a booster is grown for; it predicts P(event), a number, an amount, or a score that orders a request."""

    EVENT = "event"
    NUMBER = "number"
    AMOUNT = "amount"
    RANKING = "ranking"


@dataclass(frozen=True)
class Examples:
    """Rows to learn from: table float32 [N, F], label and weight [N]; `is_category` by column name, in order.

    For a ranking: `lengths` [R], rows of each request, which lie together in the order of their places; `position` [N],
    these places, where they are to be told apart.
    """

    table: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    is_category: Mapping[str, bool]
    lengths: np.ndarray | None = None
    position: np.ndarray | None = None


class Booster(Protocol):
    """Trees of one objective."""

    def predict(self, table: np.ndarray) -> np.ndarray:
        """float64 [N] from float32 [N, F]."""
        ...

    def forest(self) -> Forest:
        """Its trees: their sum is the prediction, an event's in log odds, an amount's its log."""
        ...

    def save(self, path: Path) -> None:
        """Write it as text."""
        ...


class TreeLibrary(Protocol):
    """Grows and reads boosters."""

    def grow(self, examples: Examples, *, objective: Objective, config: TreesConfig) -> Booster: ...

    def load(self, path: Path, *, threads: int) -> Booster: ...
