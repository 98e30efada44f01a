"""Index builders: build an index that is good enough, or refuse; keep it with its identifiers and its measured recall.

A saved folder holds the index's own files, `embeddings.npy` (float32 [n, d]; filtered search needs them), `items.txt`
(row -> item id, one JSON string a line), `report.json` and `config.json` (its settings).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from retrieval.config import DEFAULTS, RetrievalConfig
from retrieval.exact import ROUNDING, ExactIndex
from retrieval.filtered import filtered_search
from retrieval.index import AdjustableIndex, CandidateIndex
from retrieval.index_choice import Builder, IndexTrial, choose_index
from retrieval.stored_vectors import StoredVectors, mapped

AUTO = "auto"
SETTINGS = "config.json"
FILTER_SHARES = (0.5, 0.2, 0.05, 0.01)  # of the rows that a filter allows, at which recall is measured
FILTER_QUERIES = 32


@dataclass(frozen=True)
class IndexReport:
    """What was built, how much of exact search it finds, and what `auto` tried on the way."""

    kind: str
    rows: int
    dimensions: int
    k: int
    queries: int
    recall: float
    gate: float
    widened: int = 0  # times that the search was doubled to reach the gate
    parameters: Mapping[str, float | str] = field(default_factory=dict)
    trials: tuple[IndexTrial, ...] = ()
    left_out: tuple[str, ...] = ()  # forms that `auto` had no time to build
    filtered: Mapping[str, float] = field(default_factory=dict)  # recall where a share of the rows is allowed

    def __str__(self) -> str:
        parameters = ", ".join(f"{name} {value}" for name, value in self.parameters.items())
        return f"{self.kind} index{f' ({parameters})' if parameters else ''}: recall@{self.k} {self.recall:.3f}"

    def lines(self) -> Iterator[str]:
        """What was tried, and what was taken."""
        yield from (f"tried {trial}" for trial in self.trials)
        yield from (f"{form} was not built: index_seconds leaves it no time" for form in self.left_out)
        yield f"{self} of exact search"
        for share, reached in self.filtered.items():
            yield f"   of a filter that allows {share} of the items {reached:.3f}"

    @classmethod
    def from_json(cls, text: str) -> IndexReport:
        """What `json.dumps(asdict(report))` wrote."""
        values = json.loads(text)
        trials = tuple(IndexTrial(**trial) for trial in values.get("trials", ()))
        return cls(**values | {"trials": trials, "left_out": tuple(values.get("left_out", ()))})


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


class RecallBelowGate(ValueError):
    """An approximate index misses too much of what exact search finds."""


def _exact(embeddings: np.ndarray, config: RetrievalConfig) -> AdjustableIndex:
    return ExactIndex(StoredVectors.of(embeddings, storage=config.storage))


def _scann(embeddings: np.ndarray, config: RetrievalConfig) -> AdjustableIndex:
    from retrieval.scann_index import ScannIndex

    return ScannIndex.build(embeddings, config=config)


def _faiss(embeddings: np.ndarray, config: RetrievalConfig) -> AdjustableIndex:
    from retrieval.faiss_index import FaissIndex

    return FaissIndex.build(embeddings, config=config)


# Each loads its system only when it is built.
BUILDERS: dict[str, Builder] = {
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

    `auto` measures every kind and takes the quickest that reaches `config.index_recall`.

    Below `config.gate` the search effort is doubled, up to `config.widen_most` times, before the build is refused.
    Raises RecallBelowGate where recall is below `config.gate`, ValueError for an unknown kind or unusable numbers.
    """
    if kind not in (AUTO, *BUILDERS):
        raise ValueError(f"index kind {kind!r} is unknown; choose one of {', '.join((AUTO, *BUILDERS))}")
    _check(embeddings, "embeddings")
    _check(queries, "sample queries")
    if queries.shape[1] != embeddings.shape[1]:
        raise ValueError(f"queries have {queries.shape[1]} dimensions, embeddings {embeddings.shape[1]}")
    embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
    queries = np.ascontiguousarray(queries[: config.gate_queries], dtype=np.float32)
    rows, dimensions = embeddings.shape
    k = min(config.gate_k, rows)
    exact, _ = ExactIndex(embeddings).search(queries, k=k)
    measure = partial(recall, exact=exact, embeddings=embeddings, queries=queries)

    def recall_of(index: CandidateIndex) -> float:
        return measure(index.search(queries, k=k)[0])

    trials: tuple[IndexTrial, ...] = ()
    left_out: tuple[str, ...] = ()
    if kind == AUTO:
        choice = choose_index(embeddings, queries, builders=BUILDERS, recall_of=recall_of, config=config)
        kind, config, index = choice.config.index, choice.config, choice.index
        trials, left_out = choice.trials, choice.left_out
    else:
        config = replace(config, index=kind)
        index = BUILDERS[kind](embeddings, config)
    share, widened = recall_of(index), 0
    while share < config.gate and widened < config.widen_most:
        index, widened = index.wider(), widened + 1
        share = recall_of(index)
    report = IndexReport(
        kind, rows, dimensions, k, len(queries), share, config.gate, widened, dict(index.parameters), trials, left_out
    )
    if report.recall < report.gate:
        raise RecallBelowGate(_refusal(report, config))
    return _with_filters(BuiltIndex(index, embeddings, report, config), queries)


def _with_filters(built: BuiltIndex, queries: np.ndarray) -> BuiltIndex:
    """The index with its recall where a draw of the rows is allowed.

    From the first share that misses the gate on, all allowed rows are scored.
    """
    rows, k, config, filtered = built.report.rows, built.report.k, built.config, {}
    rng, nothing, some = np.random.default_rng(0), np.empty(0, np.int32), queries[:FILTER_QUERIES]
    for share in FILTER_SHARES if built.report.kind != "exact" else ():
        allowed = rng.random(rows) < share
        count = int(np.count_nonzero(allowed))
        if count <= max(config.exact_filter_below, k):
            break
        answers = [built.nearest(query, k=k, allowed=allowed, exclude=nothing)[0] for query in some]
        inside = np.flatnonzero(allowed)
        exact = inside[ExactIndex(built.embeddings[inside]).search(some, k=k)[0]]
        reached = recall(np.stack(answers), exact, embeddings=built.embeddings, queries=some)
        if reached < config.gate:
            config = replace(config, exact_filter_below=round(1.1 * count))
            break
        filtered[f"{share:.0%}"] = reached
    return replace(built, report=replace(built.report, filtered=filtered), config=config)


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
    (folder / SETTINGS).write_text(built.config.to_json() + "\n")


def load_index(folder: Path) -> tuple[BuiltIndex, list[str]]:
    """(index as it was built, item ids by row); embeddings are mapped, so that processes share their pages."""
    report = IndexReport.from_json((folder / "report.json").read_text())
    embeddings, settings = mapped(folder / "embeddings.npy"), folder / SETTINGS
    config = RetrievalConfig.from_json(settings.read_text()) if settings.exists() else DEFAULTS
    item_ids = [json.loads(line) for line in (folder / "items.txt").read_text().splitlines()]
    return BuiltIndex(_load(report.kind, folder, embeddings), embeddings, report, config), item_ids


def _load(kind: str, folder: Path, embeddings: np.ndarray) -> CandidateIndex:
    if kind == "scann":
        from retrieval.scann_index import ScannIndex

        return ScannIndex.load(folder, embeddings)
    if kind == "faiss":
        from retrieval.faiss_index import FaissIndex

        return FaissIndex.load(folder, embeddings)
    return ExactIndex.load(folder, embeddings)
