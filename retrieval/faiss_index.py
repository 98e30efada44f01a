"""Search by FAISS: flat for few rows, from there inverted lists (IVF) of full vectors or product codes, or HNSW.

Sources: Johnson et al. 2017, Billion-scale similarity search with GPUs; Jégou et al. 2011, Product Quantization;
Malkov and Yashunin 2016, Hierarchical Navigable Small World Graphs.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from retrieval.config import DEFAULTS, RetrievalConfig
from retrieval.exact import top_rows
from retrieval.index import ladder

FILE = "index.faiss"
EFFORT = "effort.json"
LONG_LIST = 100  # results above which more inverted lists are opened
CODE_BITS = 8  # of a product code
RESCORED = (4, 10, 20)  # multiples of k that are tried
HNSW_LEAST, HNSW_BEAM = 32, 1024  # lengths of the beam that are tried


class FaissIndex:
    """A FAISS inner-product index over catalogue rows.

    `opened`: inverted lists a query opens, or the length of HNSW's beam; 0 of a flat index. `rescored` of product
    codes: rows scored exactly by `embeddings` float32 [n, d] = this x k; 0 of the others, whose vectors are whole.
    """

    kind = "faiss"

    def __init__(self, index: Any, embeddings: np.ndarray, *, opened: int, rescored: int) -> None:
        self._index, self._embeddings = index, embeddings
        self._opened, self._rescored = opened, rescored

    @classmethod
    def build(cls, embeddings: np.ndarray, *, config: RetrievalConfig = DEFAULTS) -> FaissIndex:
        """Flat, or in the form that `config.faiss_form` names, by the number of rows of float32 [n, d]."""
        embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
        rows, dimensions = embeddings.shape
        index: Any = faiss.IndexFlatIP(dimensions)
        opened = rescored = 0
        if rows >= config.brute_force_below and config.faiss_form == "hnsw":
            index = faiss.IndexHNSWFlat(dimensions, config.hnsw_links, faiss.METRIC_INNER_PRODUCT)
            opened = config.hnsw_beam
        elif rows >= config.brute_force_below:
            lists = round(math.sqrt(rows))
            opened = max(1, round(lists * config.leaves_share))
            if config.faiss_form == "ivf_pq":
                blocks = math.gcd(dimensions, max(1, dimensions // config.dimensions_per_block))
                shape = (dimensions, lists, blocks, CODE_BITS, faiss.METRIC_INNER_PRODUCT)
                index, rescored = faiss.IndexIVFPQ(index, *shape), config.reorder_factor
            else:
                index = faiss.IndexIVFFlat(index, dimensions, lists, faiss.METRIC_INNER_PRODUCT)
        index.train(embeddings)
        index.add(embeddings)
        return cls(index, embeddings, opened=opened, rescored=rescored)

    @property
    def parameters(self) -> dict[str, float | str]:
        """The form, and how much of it a query searches."""
        form = type(self._index).__name__.removeprefix("Index")
        values = {"opened": self._opened, "rescored": self._rescored}
        return {"form": form} | {name: value for name, value in values.items() if value}

    def at(self, *, opened: float, rescored: float) -> FaissIndex:
        """The same index, searched with this effort."""
        most = getattr(self._index, "nlist", self._index.ntotal)
        return FaissIndex(
            self._index, self._embeddings, opened=min(math.ceil(opened), most), rescored=math.ceil(rescored)
        )

    def wider(self) -> FaissIndex:
        """The same index, opening and rescoring twice as much."""
        return self.at(opened=2 * self._opened, rescored=2 * self._rescored)

    def efforts(self) -> list[list[FaissIndex]]:
        """Ladders of the same index, each from the least effort to the greatest."""
        if not self._opened:
            return [[self]]
        most = getattr(self._index, "nlist", HNSW_BEAM)
        steps = ladder(1 if hasattr(self._index, "nlist") else HNSW_LEAST, most)
        rescored = RESCORED if self._rescored else (0,)
        return [[self.at(opened=opened, rescored=factor) for opened in steps] for factor in rescored]

    def search(self, queries: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows int32 [q, k], inner products float32 [q, k]), best first; row -1 where the lists ran out of rows."""
        k = min(k, self._index.ntotal)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        longer = min(max(1, self._rescored) * k, self._index.ntotal)
        products, rows = self._index.search(queries, longer, params=self._search_parameters(k, longer))
        if self._rescored:
            products, rows = self._exactly(queries, rows, k=k)
        return rows.astype(np.int32), np.where(rows < 0, -np.inf, products).astype(np.float32)

    def _search_parameters(self, k: int, longer: int) -> Any:
        """A list m times as long as LONG_LIST opens sqrt(m) as many inverted lists; a beam is as long as its answer."""
        if not self._opened:
            return None
        parameters: Any = faiss  # its stubs know neither class as it is
        if hasattr(self._index, "nlist"):
            return parameters.SearchParametersIVF(
                nprobe=min(self._index.nlist, round(self._opened * math.sqrt(max(1.0, k / LONG_LIST))))
            )
        return parameters.SearchParametersHNSW(efSearch=max(self._opened, longer))

    def _exactly(self, queries: np.ndarray, rows: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best of each query's rows [q, m] by their embeddings; -1 stays last."""
        products = np.einsum("qmd,qd->qm", self._embeddings[rows], queries)
        products[rows < 0] = -np.inf
        best = top_rows(products, k=k)
        return np.take_along_axis(products, best, axis=1), np.take_along_axis(rows, best, axis=1)

    def save(self, folder: Path) -> None:
        """One FAISS file, and how much of it a query searches."""
        folder.mkdir(parents=True, exist_ok=True)
        faiss.write_index(self._index, str(folder / FILE))
        effort = {"opened": self._opened, "rescored": self._rescored}
        (folder / EFFORT).write_text(json.dumps(effort))

    @classmethod
    def load(cls, folder: Path, embeddings: np.ndarray) -> FaissIndex:
        """The file is mapped, not read, where FAISS can; `embeddings` float32 [n, d] are those beside the index."""
        index = faiss.read_index(str(folder / FILE), faiss.IO_FLAG_MMAP_IFC)
        if (folder / EFFORT).exists():
            return cls(index, embeddings, **json.loads((folder / EFFORT).read_text()))
        return cls(index, embeddings, opened=getattr(index, "nprobe", 0), rescored=0)
