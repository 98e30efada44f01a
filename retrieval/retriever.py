"""Retriever: the proposals of several sources as one list of candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from retrieval.blend import Blend, CandidatePool, ScoringSource, fused, pool
from retrieval.candidates import Candidates, CandidateSource, Query


@dataclass(frozen=True)
class Quota:
    """How many items a source is asked for, and how many of its best are sure to be in the answer."""

    ask: int
    sure: int = 0


class Retriever:
    """Merges sources: each one's sure items, and the best of the rest by one score.

    The score is a learned `Blend` of what every source makes of the item, or without one the fusion of ranks. A
    candidate's source is the one that ranks it best (the earlier source where two do). Candidates come best score
    first, equal scores by catalogue row, so that the same query gives the same answer.
    """

    def __init__(
        self,
        sources: Sequence[CandidateSource],
        quotas: Mapping[str, Quota],
        *,
        blend: Blend | None = None,
    ) -> None:
        """`quotas` by source name. A blend needs sources that can score any item (`ScoringSource`)."""
        names = tuple(source.name for source in sources)
        if len(set(names)) != len(names):
            raise ValueError(f"sources must have different names, received {names}")
        if set(quotas) != set(names):
            raise ValueError(f"quotas are for {sorted(quotas)}, sources are {sorted(names)}; give each source one")
        if blend is not None and len(blend.weights) != len(names):
            raise ValueError(f"the blend has {len(blend.weights)} weights, the retriever {len(names)} sources")
        self.names = names
        self._sources = tuple(sources)
        self._ask = tuple(quotas[name].ask for name in names)
        self._sure = np.array([quotas[name].sure for name in names])
        self._blend = blend
        self._scoring = tuple(source for source in sources if isinstance(source, ScoringSource))
        if blend is not None and len(self._scoring) < len(names):
            raise ValueError("a blend needs sources that can score any item; leave it out to fuse ranks")

    def retrieve(self, query: Query, *, k: int) -> Candidates:
        """At most k distinct allowed candidates; `score` is the blend's, or the fused ranks'."""
        candidates = self._proposed(query, most=None)
        score = fused(candidates) if self._blend is None else self._blend.score(self._scores(query, candidates.items))
        # The pool is sorted by row: stable sorts keep equal scores in that order.
        order = np.argsort(-score, kind="stable")
        if self._sure.any():
            sure: np.ndarray = np.less(candidates.rank, self._sure).any(axis=1)[order]
            order = np.concatenate([order[sure], order[~sure]])
            order = order[:k][np.argsort(-score[order[:k]], kind="stable")]
        chosen = order[:k]
        source = candidates.rank[chosen].argmin(axis=1).astype(np.int8)
        return Candidates(candidates.items[chosen], source, score[chosen].astype(np.float32), self.names)

    def pool(self, query: Query, *, k: int | None = None) -> CandidatePool:
        """Everything that the sources propose, before the choice: to fit a blend on. `k` = the most of one source."""
        candidates = self._proposed(query, most=k)
        scored = len(self._scoring) == len(self._sources)
        return replace(candidates, scores=self._scores(query, candidates.items)) if scored else candidates

    def _proposed(self, query: Query, *, most: int | None) -> CandidatePool:
        query = _excluded_once(query)
        asks = self._ask if most is None else tuple(min(ask, most) for ask in self._ask)
        return pool([source.propose(query, k=ask)[0] for source, ask in zip(self._sources, asks, strict=True)])

    def _scores(self, query: Query, items: np.ndarray) -> np.ndarray:
        return np.stack([source.score(query, items) for source in self._scoring], axis=1)


def _excluded_once(query: Query) -> Query:
    """The exclusions as part of the filter where there is one, so that sources check one thing."""
    if query.allowed is None or not len(query.exclude):
        return query
    allowed = query.allowed.copy()
    allowed[query.exclude] = False
    return replace(query, allowed=allowed, exclude=query.exclude[:0])
