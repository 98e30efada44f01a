"""Index builders: build an index that is good enough, or refuse; keep it with its identifiers and its measured recall.

A saved folder holds the index's own files, `embeddings.npy` (float32 [n, d]; filtered search needs them), `items.txt`
(row -> item id, one JSON string a line), `report.json` and `config.json` (its settings).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from retrieval.config import DEFAULTS, RetrievalConfig
from retrieval.exact import ROUNDING, ExactIndex
from retrieval.filtered import filtered_search
from retrieval.index import CandidateIndex


@dataclass(frozen=True)
class IndexReport:
    """What was built, and how much of exact search it finds."""

    kind: str
    rows: int
    dimensions: int
    k: int
    queries: int
    recall: float
    gate: float
    widened: int = 0  # times that the search was doubled to reach the gate


@dataclass(frozen=True)
class BuiltIndex:
    """An index, the embeddings it searches (float32 [n, d]), its report, and the settings it was built with."""

    index: CandidateIndex
    embeddings: np.ndarray
    report: IndexReport
    config: RetrievalConfig = DEFAULTS

    def nearest(
        self, query: np.ndarray, *, k: int, allowed: np.ndarray | None, exclude: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """At most k rows (int32) that `allowed` bool [n] and `exclude` leave, and their inner products with `query`."""
        return filtered_search(
            self.index, self.embeddings, query, k=k, allowed=allowed, exclude=exclude, config=self.config
        )


class WideningIndex(CandidateIndex, Protocol):
    """An index that can search more of itself."""

    def wider(self) -> WideningIndex:
        """The index at twice the search effort."""
        ...


class RecallBelowGate(ValueError):
    """An approximate index misses too much of what exact search finds."""


def _exact(embeddings: np.ndarray, config: RetrievalConfig) -> WideningIndex:
    return ExactIndex(embeddings)


def _scann(embeddings: np.ndarray, config: RetrievalConfig) -> WideningIndex:
    from retrieval.scann_index import ScannIndex

    return ScannIndex.build(embeddings, config=config)


def _faiss(embeddings: np.ndarray, config: RetrievalConfig) -> WideningIndex:
    from retrieval.faiss_index import FaissIndex

    return FaissIndex.build(embeddings, config=config)


# Each loads its system only when it is built.
BUILDERS: dict[str, Callable[[np.ndarray, RetrievalConfig], WideningIndex]] = {
    "exact": _exact,
    "scann": _scann,
    "faiss": _faiss,
}


def recall(rows: np.ndarray, exact: np.ndarray, *, embeddings: np.ndarray, queries: np.ndarray) -> float:
    """Recall@k of `rows` [q, k] against exact search's `exact` [q, k]; -1 is an empty slot.

    A row counts when its inner product reaches that of the k-th exact row: rows that tie for the last place are as
    good as the one that exact search took.
    """
    last = np.vecdot(embeddings[exact[:, -1]], queries)
    longest = np.sqrt(np.vecdot(embeddings, embeddings).max() * np.vecdot(queries, queries))
    reached = [
        np.count_nonzero(np.vecdot(embeddings[row[row >= 0]], query) >= least)
        for row, query, least in zip(rows, queries, last - ROUNDING * longest, strict=True)
    ]
    return float(np.mean(reached) / exact.shape[1])


def build_index(
    kind: str, embeddings: np.ndarray, *, queries: np.ndarray, config: RetrievalConfig = DEFAULTS
) -> BuiltIndex:
    """The index of `kind` over float32 [n, d], with its recall@k of exact search on sample queries [q, d].

    Below `config.gate` the search effort is doubled, up to `config.widen_most` times, before the build is refused.
    Raises RecallBelowGate where recall is below `config.gate`, ValueError for an unknown kind or unusable numbers.
    """
    if kind not in BUILDERS:
        raise ValueError(f"index kind {kind!r} is unknown; choose one of {', '.join(BUILDERS)}")
    _check(embeddings, "embeddings")
    _check(queries, "sample queries")
    if queries.shape[1] != embeddings.shape[1]:
        raise ValueError(f"queries have {queries.shape[1]} dimensions, embeddings {embeddings.shape[1]}")
    embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
    queries = np.ascontiguousarray(queries[: config.gate_queries], dtype=np.float32)
    rows, dimensions = embeddings.shape
    k = min(config.gate_k, rows)
    exact, _ = ExactIndex(embeddings).search(queries, k=k)
    index = BUILDERS[kind](embeddings, config)
    measure = partial(recall, exact=exact, embeddings=embeddings, queries=queries)
    share = measure(index.search(queries, k=k)[0])
    widened = 0
    while share < config.gate and widened < config.widen_most:
        index, widened = index.wider(), widened + 1
        share = measure(index.search(queries, k=k)[0])
    report = IndexReport(kind, rows, dimensions, k, len(queries), share, config.gate, widened)
    if report.recall < report.gate:
        raise RecallBelowGate(_refusal(report, config))
    return BuiltIndex(index, embeddings, report, config)


def _check(matrix: np.ndarray, what: str) -> None:
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"{what} must be a matrix with rows and columns, received shape {matrix.shape}")
    bad = ~np.isfinite(matrix).all(axis=1)
    if bad.any():
        raise ValueError(f"{what}: {int(bad.sum())} rows hold NaN or infinity, the first is row {int(bad.argmax())}")


def _refusal(report: IndexReport, config: RetrievalConfig) -> str:
    return (
        f"{report.kind} index of {report.rows} x {report.dimensions} refused: recall@{report.k} {report.recall:.3f} on "
        f"{report.queries} queries, widened {report.widened} times, is below the gate {report.gate}. Raise "
        f"leaves_share (now {config.leaves_share}), reorder_factor (now {config.reorder_factor}) or widen_most (now "
        f"{config.widen_most}), or build kind 'exact'."
    )


def save_index(built: BuiltIndex, folder: Path, *, item_ids: Sequence[str]) -> None:
    """Write index, embeddings, identifiers by row, and report; the folder can be moved."""
    if len(item_ids) != built.report.rows:
        raise ValueError(f"{len(item_ids)} item ids for an index of {built.report.rows} rows")
    folder.mkdir(parents=True, exist_ok=True)
    built.index.save(folder)
    np.save(folder / "embeddings.npy", built.embeddings, allow_pickle=False)
    (folder / "items.txt").write_text("".join(json.dumps(str(item)) + "\n" for item in item_ids))
    (folder / "report.json").write_text(json.dumps(asdict(built.report), indent=1) + "\n")
    (folder / "config.json").write_text(built.config.to_json() + "\n")


def load_index(folder: Path) -> tuple[BuiltIndex, list[str]]:
    """(index as it was built, item ids by row)."""
    report = IndexReport(**json.loads((folder / "report.json").read_text()))
    embeddings = np.load(folder / "embeddings.npy", allow_pickle=False)
    item_ids = [json.loads(line) for line in (folder / "items.txt").read_text().splitlines()]
    kept = folder / "config.json"
    config = RetrievalConfig.from_json(kept.read_text()) if kept.exists() else DEFAULTS  # of an older bundle
    return BuiltIndex(_load(report.kind, folder), embeddings, report, config), item_ids


def _load(kind: str, folder: Path) -> CandidateIndex:
    if kind == "scann":
        from retrieval.scann_index import ScannIndex

        return ScannIndex.load(folder)
    if kind == "faiss":
        from retrieval.faiss_index import FaissIndex

        return FaissIndex.load(folder)
    return ExactIndex.load(folder)
