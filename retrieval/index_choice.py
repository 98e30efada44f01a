"""Choice of an index by measuring: every kind is built, and searched at growing effort until it reaches the recall.

The quickest effort that does is taken. Nothing is tuned by hand: what was tried is kept, with what it cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from retrieval.config import RetrievalConfig
from retrieval.index import AdjustableIndex, CandidateIndex

Builder = Callable[[np.ndarray, RetrievalConfig], AdjustableIndex]
TIMED = 64  # single queries whose median time is the rate
SLOW = 0.5  # of the best rate: an effort below it is not increased further
PILOT = 30_000  # rows whose build says how long that of all would take


@dataclass(frozen=True)
class IndexTrial:
    """One effort of one index; `megabytes` are its files', beside those of the embeddings."""

    kind: str
    parameters: Mapping[str, float | str]
    recall: float
    queries_per_second: float
    megabytes: float
    build_seconds: float

    def __str__(self) -> str:
        parameters = ", ".join(f"{name} {value}" for name, value in self.parameters.items())
        return (
            f"{self.kind}{f' ({parameters})' if parameters else ''}: recall {self.recall:.3f}, "
            f"{self.queries_per_second:,.0f} queries/s, {self.megabytes:.0f} MB, built in {self.build_seconds:.1f} s"
        )


@dataclass(frozen=True)
class IndexChoice:
    """The index that was taken, the settings that build it, what was tried, and the forms left out for want of time."""

    index: AdjustableIndex
    config: RetrievalConfig
    trials: tuple[IndexTrial, ...]
    left_out: tuple[str, ...]


def choose_index(
    embeddings: np.ndarray,
    queries: np.ndarray,
    *,
    builders: Mapping[str, Builder],
    recall_of: Callable[[CandidateIndex], float],
    config: RetrievalConfig,
) -> IndexChoice:
    """The quickest index over float32 [n, d] whose `recall_of` the sample queries [q, d] reaches the greater of
    config.index_recall and config.gate.

    Raises ValueError where none does, which exact search of float32 always would.
    """
    goal = max(config.index_recall, config.gate)
    trials: list[IndexTrial] = []
    left_out: list[str] = []
    best: tuple[float, AdjustableIndex, RetrievalConfig] | None = None
    start = time.perf_counter()
    for shape in shapes(len(embeddings), config):
        left = config.index_seconds - (time.perf_counter() - start)
        if trials and (left < 0 or build_seconds(builders[shape.index], embeddings, shape) > left):
            left_out.append(shape.faiss_form if shape.index == "faiss" else shape.index)
            continue
        began = time.perf_counter()
        built = builders[shape.index](embeddings, shape)
        seconds, size = time.perf_counter() - began, megabytes(built)
        for ladder in built.efforts():
            for index in ladder:
                recall, rate = recall_of(index), queries_per_second(index, queries, k=config.gate_k)
                trials.append(IndexTrial(shape.index, index.parameters, recall, rate, size, seconds))
                if recall >= goal and (best is None or rate > best[0]):
                    best = rate, index, shape
                if recall >= goal or (best is not None and rate < SLOW * best[0]):
                    break
    if best is None:
        tried = "; ".join(map(str, trials))
        raise ValueError(f"no index reaches recall {goal}: lower index_recall and gate, or raise storage ({tried})")
    return IndexChoice(best[1], best[2], tuple(trials), tuple(left_out))


def shapes(rows: int, config: RetrievalConfig) -> Iterator[RetrievalConfig]:
    """The settings of each index that is tried; FAISS has one form below `brute_force_below` rows."""
    yield replace(config, index="exact")
    yield replace(config, index="scann")
    for form in ("ivf_flat", "ivf_pq", "hnsw")[: 3 if rows >= config.brute_force_below else 1]:
        yield replace(config, index="faiss", faiss_form=form)


def build_seconds(builder: Builder, embeddings: np.ndarray, shape: RetrievalConfig) -> float:
    """What a build should take, n log n of PILOT rows' time; 0 where there are few more rows than those."""
    rows = len(embeddings)
    if rows < 4 * PILOT:
        return 0.0
    start = time.perf_counter()
    builder(np.ascontiguousarray(embeddings[:: rows // PILOT][:PILOT]), shape)
    return (time.perf_counter() - start) * rows * np.log(rows) / (PILOT * np.log(PILOT))


def queries_per_second(index: CandidateIndex, queries: np.ndarray, *, k: int) -> float:
    """One over the median time of a single query."""
    times = []
    for query in queries[:TIMED]:
        start = time.perf_counter()
        index.search(query[None], k=k)
        times.append(time.perf_counter() - start)
    return float(1 / np.median(times))


def megabytes(index: CandidateIndex) -> float:
    """Of the files that the index is saved in."""
    with TemporaryDirectory() as folder:
        index.save(Path(folder))
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 1e6
