"""One score for candidates of several sources.

A pool holds n distinct items by S sources: `rank` int32 [n, S] (0 = best; ABSENT where the source did not propose it)
and `score` float32 [n, S] (0 where absent).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ABSENT = np.iinfo(np.int32).max
LAST = 10_000  # ranks beyond count as this one
LOG_RANK = np.log1p(np.arange(LAST + 1))


@dataclass(frozen=True)
class Pool:
    """Items (catalogue rows int32 [n]) with their rank and score in each source."""

    items: np.ndarray
    rank: np.ndarray
    score: np.ndarray

    @property
    def features(self) -> np.ndarray:
        """Float64 [n, 3 S], source by source: proposed at all, log(1 + rank), score; 0 where absent."""
        present = self.rank != ABSENT
        log_rank = np.log1p(np.where(present, self.rank, 0))
        return np.stack([present, log_rank, self.score], axis=2).reshape(len(self.items), -1).astype(np.float64)


def pool(proposed: Sequence[tuple[np.ndarray, np.ndarray]]) -> Pool:
    """The union of (items, scores), best first, one pair a source."""
    sizes = [len(items) for items, _ in proposed]
    source = np.repeat(np.arange(len(sizes)), sizes)
    rank = np.concatenate([np.arange(size) for size in sizes])
    items, place = np.unique(np.concatenate([items for items, _ in proposed]), return_inverse=True)
    ranks = np.full((len(items), len(sizes)), ABSENT, np.int32)
    scores = np.zeros((len(items), len(sizes)), np.float32)
    ranks[place, source] = rank
    scores[place, source] = np.concatenate([scores for _, scores in proposed])
    return Pool(items.astype(np.int32), ranks, scores)


@dataclass(frozen=True)
class Blend:
    """Linear in the pool's features: `weights` float64 [S, 3] on (proposed, log(1 + rank), score).

    With sources that score in logarithms this is a log-linear model of the chance that the candidate is wanted.
    """

    weights: tuple[tuple[float, float, float], ...]

    @property
    def sources(self) -> int:
        return len(self.weights)

    def score(self, candidates: Pool) -> np.ndarray:
        """Float64 [n]."""
        present = candidates.rank != ABSENT
        proposed, log_rank, score = np.array(self.weights).T
        ranked = LOG_RANK[np.where(present, np.minimum(candidates.rank, LAST), 0)]
        return present @ proposed + ranked @ log_rank + candidates.score @ score

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.weights))

    @classmethod
    def load(cls, path: Path) -> Blend:
        return cls(tuple(tuple(row) for row in json.loads(path.read_text())))


def rank_blend(sources: int) -> Blend:
    """Untrained: each source adds log(1000 / (1 + rank)), so that high ranks and agreement both count."""
    return Blend(((float(np.log(1000.0)), -1.0, 0.0),) * sources)


def fit_blend(pools: Sequence[Pool], wanted: Sequence[np.ndarray], *, ridge: float = 1e-3) -> Blend:
    """Logistic regression of "was wanted" on the pools' features; each request weighs the same.

    `wanted`: the catalogue rows that each pool should hold. Pools must be of a time after what the sources learned
    and before what the blend is judged on. `ridge` is the L2 penalty a request.
    """
    from sklearn.linear_model import LogisticRegression  # half a second that serving need not pay

    features = np.concatenate([candidates.features for candidates in pools])
    label = np.concatenate([np.isin(one.items, rows) for one, rows in zip(pools, wanted, strict=True)])
    if label.all() or not label.any():
        raise ValueError(f"{int(label.sum())} of {len(label)} pooled candidates are wanted; a blend needs both kinds")
    sizes = np.array([len(candidates.items) for candidates in pools])
    weight = np.repeat(1 / np.maximum(sizes, 1), sizes)
    scale = features.std(axis=0)
    scale[scale == 0] = 1
    model = LogisticRegression(C=1 / (ridge * len(pools)), max_iter=500)
    model.fit(features / scale, label, sample_weight=weight)
    weights = (model.coef_[0] / scale).reshape(-1, 3)
    return Blend(tuple(tuple(float(value) for value in row) for row in weights))  # type: ignore[misc]
