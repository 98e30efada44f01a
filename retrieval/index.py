"""The nearest-neighbour index that every implementation follows."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np


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
