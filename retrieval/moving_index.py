"""An index whose items move: new ones, and those whose content changed, are searched exactly beside it.

The index stays as it was built. A row that moved is struck from its answers and scored with its new embedding, so that
an answer is that of one index over all rows; the exact part costs one product a moved row. Once `rebuild_share` of the
rows have moved, another process builds the index anew over all of them; its result is swapped in between two searches,
and rows that moved while it was built are moved rows of the new one. Every `watch_every`-th search is compared with
exact search: `watched_recall` says what the index finds now, and where that is below its gate it is built anew too.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from retrieval.build import BuiltIndex, IndexReport
from retrieval.exact import ROUNDING, top_rows
from retrieval.index import CandidateIndex
from retrieval.index_rebuild import RebuildFailed, rebuilt
from retrieval.moved_rows import MovedRows

logger = logging.getLogger(__name__)

WATCHED = 200  # searches that the watched recall is of
FEWEST_WATCHED = 20  # before it is judged by
LATEST_QUERIES = 256  # that a rebuild is measured on
FEWEST_QUERIES = 16


@dataclass(frozen=True, eq=False)
class _Searched:
    """What a search reads, as of one moment: the index, which rows moved since (bool [n + room]), and their numbers."""

    built: BuiltIndex
    moved: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class IndexState:
    """Recall of the latest watched searches (None before the first), the one it is gated by, rebuilds, a failed one."""

    recall: float | None
    gate: float
    rebuilds: int
    failure: str


class MovingIndex:
    """A `BuiltIndex` of n rows with room for more: `embeddings` [n + room, d], written by `move`."""

    def __init__(self, built: BuiltIndex, *, room: int) -> None:
        rows = len(built.embeddings)
        self.embeddings = MovedRows(built.embeddings, room=room)
        self._searched = _Searched(built, np.zeros(rows + room, bool), np.zeros(0, np.int32))
        self._lock = threading.Lock()  # of writers: moves, and the swap
        self._rebuild: threading.Thread | None = None
        self._moved_since: np.ndarray | None = None  # bool [n + room]: while an index is built anew
        self._queries: deque[np.ndarray] = deque(maxlen=LATEST_QUERIES)
        self._recalls: deque[float] = deque(maxlen=WATCHED)
        self._count = 0
        self._most_moved = most_moved(built)
        self.rebuilds, self.failure = 0, ""

    @property
    def index(self) -> CandidateIndex:
        return self._searched.built.index

    @property
    def report(self) -> IndexReport:
        return self._searched.built.report

    @property
    def watched_recall(self) -> float | None:
        """Mean recall of the latest searches that were compared with exact search; None before the first."""
        return float(np.mean(self._recalls)) if self._recalls else None

    @property
    def state(self) -> IndexState:
        return IndexState(self.watched_recall, self.report.gate, self.rebuilds, self.failure)

    def move(self, rows: np.ndarray, embeddings: np.ndarray) -> None:
        """Rows have these embeddings from now on."""
        with self._lock:
            self.embeddings.write(rows, embeddings)
            moved = self._searched.moved.copy()
            moved[rows] = True
            self._searched = _Searched(self._searched.built, moved, np.flatnonzero(moved).astype(np.int32))
            if self._moved_since is not None:
                self._moved_since[rows] = True
        if len(self._searched.rows) > self._most_moved:
            self.rebuild()

    def nearest(
        self, query: np.ndarray, *, k: int, allowed: np.ndarray | None, exclude: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `BuiltIndex.nearest` over all rows, those without an item excepted."""
        searched = self._searched
        rows, products = self._nearest(searched, query, k=k, allowed=allowed, exclude=exclude)
        self._queries.append(query)
        self._count += 1
        every = searched.built.config.watch_every
        if every and allowed is None and not len(exclude) and self._count % every == 0:
            self._watch(query, products, k=k)
        return rows, products

    def _nearest(
        self, searched: _Searched, query: np.ndarray, *, k: int, allowed: np.ndarray | None, exclude: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        built, size, rows = searched.built, searched.built.report.rows, searched.rows
        inside = exclude[exclude < size]
        if not len(rows):
            first = None if allowed is None else allowed[:size]
            return built.nearest(query, k=k, allowed=first, exclude=inside)
        stayed = ~searched.moved[:size] if allowed is None else allowed[:size] & ~searched.moved[:size]
        best_stayed, products = built.nearest(query, k=k, allowed=stayed, exclude=inside)
        moved = rows if allowed is None else rows[allowed[rows]]
        moved = moved[~np.isin(moved, exclude)]
        rows = np.concatenate([best_stayed, moved])
        products = np.concatenate([products, np.vecdot(self.embeddings[moved], query)])
        best = top_rows(products[None], k=k)[0]
        return rows[best], products[best]

    def _watch(self, query: np.ndarray, answer: np.ndarray, *, k: int) -> None:
        """Compare an answer's products with those of every row."""
        products = self.embeddings.products(query)
        last = np.partition(products, -k)[-k] if k < len(products) else products.min()
        within = answer >= last - ROUNDING * np.abs(products[np.isfinite(products)]).max(initial=1.0)
        self._recalls.append(float(np.count_nonzero(within) / min(k, np.isfinite(products).sum())))
        gate = self.report.gate
        if len(self._recalls) >= FEWEST_WATCHED and float(np.mean(self._recalls)) < gate and len(self._searched.rows):
            self.rebuild()

    def rebuild(self) -> None:
        """Begin to build the index anew over all rows, unless that is under way."""
        with self._lock:
            if self._moved_since is not None:
                return
            self._moved_since = np.zeros(len(self.embeddings), bool)
        self._rebuild = threading.Thread(target=self._build_and_swap, args=[self._moved_since], daemon=True)
        self._rebuild.start()

    def wait(self) -> None:
        """Until the rebuild that is under way, if any, is swapped in or has failed."""
        if self._rebuild is not None:
            self._rebuild.join()

    def _build_and_swap(self, moved: np.ndarray) -> None:
        """`moved` bool [n + room] is written by `move` meanwhile."""
        with self._lock:
            built, frozen = self._searched.built, self.embeddings.frozen()
        embeddings = frozen.snapshot()
        queries = list(self._queries)
        sample = np.stack(queries) if len(queries) >= FEWEST_QUERIES else embeddings[:: len(embeddings) // 256 + 1]
        try:
            new = rebuilt(embeddings, sample, config=replace(built.config, gate=built.report.gate))
        except (OSError, RebuildFailed, ValueError) as error:
            with self._lock:
                self._moved_since, self._most_moved = None, 2 * self._most_moved
                self._recalls.clear()  # or the next search that is watched would begin the same once more
                self.failure = str(error)
            logger.warning("the index goes on as it was built: %s", error)
            return
        with self._lock:
            self.embeddings.rest_on(new.embeddings, moved=moved)
            self._searched = _Searched(new, moved, np.flatnonzero(moved).astype(np.int32))
            self._moved_since, self._most_moved = None, most_moved(new)
            self._recalls.clear()
            self.rebuilds, self.failure = self.rebuilds + 1, ""
        logger.info("built anew over %d items: %s", new.report.rows, new.report)


def most_moved(built: BuiltIndex) -> float:
    """How many rows may move before the index is built anew."""
    return max(built.config.rebuild_least, built.config.rebuild_share * built.report.rows)
