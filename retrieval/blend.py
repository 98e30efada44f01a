"""Blend: one score for candidates of several sources.

A pool holds n distinct items, sorted by catalogue row, by S sources: `rank` int32 [n, S] is an item's place in a
source's proposal (0 = best, ABSENT = not proposed).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.special import expit

from retrieval.candidates import CandidateSource, Query

ABSENT = np.iinfo(np.int32).max
CONSTANT = 1e-6
LAST = 10_000  # ranks beyond count as this one
RECIPROCAL = np.append(1 / (60.0 + np.arange(LAST)), 0.0)  # 60: Cormack et al. 2009, Reciprocal Rank Fusion


@runtime_checkable
class ScoringSource(CandidateSource, Protocol):
    """A source that can score any item, whoever proposed it; its scores are of logarithms."""

    def score(self, query: Query, items: np.ndarray) -> np.ndarray:
        """Float [m]."""
        ...


@dataclass(frozen=True)
class CandidatePool:
    """What the sources propose: `scores` float64 [n, S] is what each source makes of an item."""

    items: np.ndarray
    rank: np.ndarray
    scores: np.ndarray | None = None

    def select(self, rows: np.ndarray) -> CandidatePool:
        """Some of its items, bool [n]."""
        return CandidatePool(self.items[rows], self.rank[rows], None if self.scores is None else self.scores[rows])


def pool(proposed: Sequence[np.ndarray]) -> CandidatePool:
    """The union of proposals, each best first, one a source."""
    sizes = [len(items) for items in proposed]
    source = np.repeat(np.arange(len(sizes)), sizes)
    rank = np.concatenate([np.arange(size) for size in sizes])
    items, place = np.unique(np.concatenate(proposed), return_inverse=True)
    ranks = np.full((len(items), len(sizes)), ABSENT, np.int32)
    ranks[place, source] = rank
    return CandidatePool(items.astype(np.int32), ranks)


def fused(candidates: CandidatePool) -> np.ndarray:
    """Float64 [n]: the sum of 1 / (60 + rank) over the sources that proposed an item; nothing to learn."""
    return RECIPROCAL.take(np.minimum(candidates.rank, LAST)).sum(axis=1)


@dataclass(frozen=True)
class Blend:
    """score(i) = sum over sources of weight x source score of i: log-linear, since sources score in logarithms."""

    weights: tuple[float, ...]

    def score(self, scores: np.ndarray) -> np.ndarray:
        """Float64 [n] of the sources' scores [n, S]."""
        return scores @ np.array(self.weights)


Blends = Mapping[str, Mapping[str, float]]  # weight by source, by surface


def save_blends(blends: Blends, path: Path) -> None:
    """Write the blends of the surfaces that have one."""
    path.write_text(json.dumps(blends, indent=1) + "\n")


def load_blends(path: Path) -> Blends:
    """What `save_blends` wrote; nothing where nothing was fitted."""
    return json.loads(path.read_text()) if path.exists() else {}


def fit_blend(pools: Sequence[CandidatePool], positives: Sequence[np.ndarray], *, ridge: float = 1.0) -> Blend:
    """Logistic regression, of weights >= 0, of "is a positive" on the sources' scores.

    `pools` as `Retriever.pool` gives them, `positives`: catalogue rows, one array a pool. The requests must be later
    than what the sources learned, and earlier than what the blend is judged on. A source may speak for an item and not
    against it: sources overlap, and a negative weight would only undo another's. `ridge` is the L2 penalty on the
    weights of standardised scores, in rows.
    """
    if any(one.scores is None for one in pools):
        raise ValueError("a blend needs sources that can score any item; leave it out to fuse ranks")
    features = np.concatenate([one.scores for one in pools if one.scores is not None]).astype(np.float64)
    label = np.concatenate([np.isin(one.items, rows) for one, rows in zip(pools, positives, strict=True)])
    if label.all() or not label.any():
        raise ValueError(f"{int(label.sum())} of {len(label)} pooled candidates are wanted; a blend needs both kinds")
    scale = features.std(axis=0)
    scale[scale < CONSTANT] = np.inf  # tells candidates apart by rounding alone: weight 0
    weights = _logistic((features - features.mean(axis=0)) / scale, label, ridge=ridge)
    return Blend(tuple(float(weight) for weight in weights / scale))


def _logistic(features: np.ndarray, label: np.ndarray, *, ridge: float) -> np.ndarray:
    """Weights >= 0 that minimise the log loss of label ~ intercept + features, plus ridge / 2 x their squares."""
    from scipy.optimize import minimize  # what serves does not fit

    columns = features.shape[1]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, logit = parameters[:columns], features @ parameters[:columns] + parameters[columns]
        error = expit(logit) - label
        value = np.logaddexp(0, logit).sum() - logit[label].sum() + ridge / 2 * weights @ weights
        return value, np.append(features.T @ error + ridge * weights, error.sum())

    start = np.append(np.full(columns, 0.1), np.log(label.mean() / (1 - label.mean())))
    bounds = [(0, None)] * columns + [(None, None)]
    return minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 300}).x[:columns]
