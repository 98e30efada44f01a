"""The nearest-neighbour index that every implementation follows, and the efforts at which one can be searched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

STEP = 1.5  # between two efforts that are tried


class CandidateIndex(Protocol):
    """Maximum inner product search over the catalogue's embeddings."""

    def search(self, queries: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows int32 [q, k], inner products float32 [q, k]), best first, for queries float32 [q, d].

        Exact search orders equal products by row; an approximate index may order them otherwise.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write everything needed to load it elsewhere; the folder can be moved."""
        ...


class AdjustableIndex(CandidateIndex, Protocol):
    """An index that can search more or less of itself."""

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """How it is searched."""
        ...

    def wider(self) -> AdjustableIndex:
        """The index at twice the search effort."""
        ...

    def efforts(self) -> Sequence[Sequence[AdjustableIndex]]:
        """The same index at other efforts: ladders, each from the least to the greatest."""
        ...


def ladder(least: int, most: int) -> list[int]:
    """From `least` to `most`, each STEP times the one before."""
    steps = math.ceil(math.log(max(most / least, 1), STEP))
    return list(dict.fromkeys([*(round(least * STEP**step) for step in range(steps)), most]))
