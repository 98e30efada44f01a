"""Search by FAISS: inverted lists of full vectors (IVF flat; Johnson et al. 2017), flat below 20,000 rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from retrieval.config import DEFAULTS, RetrievalConfig


class FaissIndex:
    """A FAISS inner-product index over catalogue rows."""

    kind = "faiss"

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, embeddings: np.ndarray, *, config: RetrievalConfig = DEFAULTS) -> FaissIndex:
        """Flat or IVF with sqrt(rows) lists, by the number of rows of float32 [n, d]."""
        rows, dimensions = embeddings.shape
        index: Any = faiss.IndexFlatIP(dimensions)
        if rows >= config.brute_force_below:
            lists = round(math.sqrt(rows))
            index = faiss.IndexIVFFlat(index, dimensions, lists, faiss.METRIC_INNER_PRODUCT)
            index.nprobe = max(1, round(lists * config.leaves_share))
        embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
        index.train(embeddings)
        index.add(embeddings)
        return cls(index)

    def wider(self) -> FaissIndex:
        """The same index, opening twice the lists; it has nothing to rescore."""
        if hasattr(self._index, "nprobe"):
            self._index.nprobe = min(2 * self._index.nprobe, self._index.nlist)
        return self

    def search(self, queries: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows int32 [q, k], inner products float32 [q, k]), best first; row -1 where the lists ran out of rows."""
        k = min(k, self._index.ntotal)
        products, rows = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
        return rows.astype(np.int32), np.where(rows < 0, -np.inf, products).astype(np.float32)

    def save(self, folder: Path) -> None:
        """One FAISS file."""
        folder.mkdir(parents=True, exist_ok=True)
        faiss.write_index(self._index, str(folder / "index.faiss"))

    @classmethod
    def load(cls, folder: Path) -> FaissIndex:
        return cls(faiss.read_index(str(folder / "index.faiss")))
