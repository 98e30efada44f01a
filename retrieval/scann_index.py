"""Search by ScaNN: anisotropic quantisation, partitions, exact rescoring.

Source: Guo et al. 2020, Accelerating Large-Scale Inference with Anisotropic Vector Quantization; the sizes at which
partitions and quantisation start are those of ScaNN's documentation (docs/algorithms.md).
"""

from __future__ import annotations

import ctypes
import functools
import json
import math
import os
import re
import sys
import weakref
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from retrieval.config import DEFAULTS, RetrievalConfig
from retrieval.index import ladder

TRAINING_SAMPLE = 100_000  # rows that centroids and codebooks are learned from
ANISOTROPIC_THRESHOLD = 0.2
PICKLED = "scann_docids.pkl"  # identifiers as ScaNN keeps them
RESCORED = (3, 5, 10, 20)  # multiples of k that are tried
LEAST_LEAVES = 4  # partitions: the fewest that are tried
LONG_LIST = 100  # results above which more partitions are opened, and the rescored multiple shrinks


_living: weakref.WeakSet[Any] = weakref.WeakSet()  # searchers


def _keep_in_fork() -> None:
    """In a fork, never destroy a searcher: that waits for its threads, which stayed behind; searching needs none."""
    for searcher in _living:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(searcher))


os.register_at_fork(after_in_child=_keep_in_fork)


@functools.cache
def _scann() -> ModuleType:
    """The pybind searcher, without TensorFlow: importing scann imports it where installed, for ops not used here."""
    hidden = "tensorflow" not in sys.modules
    if hidden:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        from scann.scann_ops.py import scann_ops_pybind
    finally:
        if hidden:
            del sys.modules["tensorflow"]
    return scann_ops_pybind


class ScannIndex:
    """A ScaNN searcher over catalogue rows; identifiers stay outside, since ScaNN would pickle them."""

    kind = "scann"

    def __init__(self, searcher: Any, *, rows: int, leaves_to_search: int, reorder_factor: int) -> None:
        self._searcher = searcher
        _living.add(searcher)
        self._rows = rows
        self._leaves_to_search = leaves_to_search
        self._reorder_factor = reorder_factor

    @classmethod
    def build(cls, embeddings: np.ndarray, *, config: RetrievalConfig = DEFAULTS) -> ScannIndex:
        """Brute force, quantised, or partitioned and quantised, by the number of rows of float32 [n, d]."""
        rows = len(embeddings)
        builder = _scann().builder(np.ascontiguousarray(embeddings, dtype=np.float32), config.gate_k, "dot_product")
        leaves_to_search = -1
        if rows >= config.partition_from:
            leaves = round(math.sqrt(rows))
            leaves_to_search = max(1, round(leaves * config.leaves_share))
            builder = builder.tree(leaves, leaves_to_search, training_sample_size=TRAINING_SAMPLE)
        if rows < config.brute_force_below:
            builder = builder.score_brute_force()
        else:
            builder = builder.score_ah(
                config.dimensions_per_block, anisotropic_quantization_threshold=ANISOTROPIC_THRESHOLD
            ).reorder(min(rows, config.reorder_factor * config.gate_k))
        return cls(builder.build(), rows=rows, leaves_to_search=leaves_to_search, reorder_factor=config.reorder_factor)

    @property
    def parameters(self) -> dict[str, float | str]:
        """How much of it a query searches."""
        leaves: dict[str, float | str] = (
            {"leaves_to_search": self._leaves_to_search} if self._leaves_to_search > 0 else {}
        )
        return leaves | {"reorder_factor": self._reorder_factor}

    def at(self, *, leaves_to_search: int, reorder_factor: int) -> ScannIndex:
        """The same searcher, searched with this effort."""
        return ScannIndex(
            self._searcher,
            rows=self._rows,
            leaves_to_search=min(leaves_to_search, round(math.sqrt(self._rows))),
            reorder_factor=reorder_factor,
        )

    def wider(self) -> ScannIndex:
        """The same searcher, opening twice the partitions and rescoring twice the rows."""
        return self.at(leaves_to_search=2 * self._leaves_to_search, reorder_factor=2 * self._reorder_factor)

    def efforts(self) -> list[list[ScannIndex]]:
        """Ladders of the same searcher, each from the least effort to the greatest."""
        if self._leaves_to_search < 0:
            return [[self.at(leaves_to_search=-1, reorder_factor=factor) for factor in RESCORED]]
        steps = ladder(LEAST_LEAVES, round(math.sqrt(self._rows)))
        return [[self.at(leaves_to_search=step, reorder_factor=factor) for step in steps] for factor in RESCORED]

    def search(self, queries: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows int32 [q, k], inner products float32 [q, k]), best first; row -1 where partitions ran out of rows."""
        k = min(k, self._rows)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        # A list m times as long needs more partitions, and a smaller multiple of k rescored: both by sqrt(m).
        longer = math.sqrt(max(1.0, k / LONG_LIST))
        reorder = min(self._rows, round(self._reorder_factor * k / longer))
        leaves = min(round(self._leaves_to_search * longer), round(math.sqrt(self._rows)))
        rows, products = self._searcher.search_batched(queries, k, reorder, leaves)
        return _padded(rows, products, k=k)

    def save(self, folder: Path) -> None:
        """ScaNN's own files with relative paths, and the search settings beside them."""
        files = folder / "scann"
        files.mkdir(parents=True, exist_ok=True)
        self._searcher.serialize(str(files), relative_path=True)
        settings = {
            "rows": self._rows,
            "leaves_to_search": self._leaves_to_search,
            "reorder_factor": self._reorder_factor,
        }
        (folder / "search.json").write_text(json.dumps(settings))

    @classmethod
    def load(cls, folder: Path, embeddings: np.ndarray) -> ScannIndex:
        """Its files hold the embeddings, so that `embeddings` are not read.

        Raises ValueError for files that ScaNN would unpickle, or that lie elsewhere.
        """
        settings = json.loads((folder / "search.json").read_text())
        for asset in re.findall(r'asset_path: *"([^"]*)"', (folder / "scann" / "scann_assets.pbtxt").read_text()):
            if Path(asset).name != asset:
                raise ValueError(f"{folder / 'scann' / 'scann_assets.pbtxt'} names {asset}, which lies elsewhere.")
        if (folder / "scann" / PICKLED).exists():
            raise ValueError(f"{folder / 'scann' / PICKLED}: ScaNN would unpickle it; an index here has none.")
        return cls(_scann().load_searcher(str(folder / "scann"), assets_backcompat_shim=False), **settings)


def _padded(answer: np.ndarray, products: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Width k, with row -1 and product -inf in the slots that were not filled (ScaNN marks them NaN)."""
    width = min(k, answer.shape[1])
    real = ~np.isnan(products[:, :width])
    if width == k and real.all():  # the usual case
        return answer[:, :k].astype(np.int32), products[:, :k]
    rows = np.full((len(answer), k), -1, np.int32)
    scores = np.full((len(answer), k), -np.inf, np.float32)
    rows[:, :width] = np.where(real, answer[:, :width].astype(np.int64), -1)
    scores[:, :width] = np.where(real, products[:, :width], -np.inf)
    return rows, scores
