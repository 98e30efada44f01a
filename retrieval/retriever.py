"""Several sources asked, one list of candidates answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from retrieval.blend import Blend, Pool, pool, rank_blend
from retrieval.source import Candidates, CandidateSource, Query


@dataclass(frozen=True)
class Quota:
    """How many items a source is asked for, and how many of its best are sure to be in the answer."""

    ask: int
    sure: int = 0


class Retriever:
    """Merges sources: each one's sure items first, the rest of the k places by the blend's score.

    A candidate's source is the one that ranks it best (the earlier source where two do). Candidates come best blend
    first, equal scores by catalogue row, so that the same query gives the same answer.
    """

    def __init__(
        self, sources: Sequence[CandidateSource], quotas: Mapping[str, Quota], *, blend: Blend | None = None
    ) -> None:
        """`quotas` by source name; `blend` None = reciprocal ranks with equal weights."""
        names = tuple(source.name for source in sources)
        if len(set(names)) != len(names):
            raise ValueError(f"sources must have different names, received {names}")
        if set(quotas) != set(names):
            raise ValueError(f"quotas are for {sorted(quotas)}, sources are {sorted(names)}; give each source one")
        self.names = names
        self._sources = tuple(sources)
        self._quotas = tuple(quotas[name] for name in names)
        self._sure = np.array([quota.sure for quota in self._quotas])
        self._blend = blend or rank_blend(len(names))
        if self._blend.sources != len(names):
            raise ValueError(f"the blend is of {self._blend.sources} sources, the retriever has {len(names)}")

    def retrieve(self, query: Query, *, k: int) -> Candidates:
        """At most k distinct allowed candidates; `score` is the blend's."""
        found = self.pool(query, k=k)
        score = self._blend.score(found)
        sure: np.ndarray = np.less(found.rank, self._sure).any(axis=1)
        # The pool is sorted by row: stable sorts keep equal scores in that order.
        order = np.argsort(-score, kind="stable")
        chosen = np.concatenate([order[sure[order]], order[~sure[order]]])[:k]
        chosen = chosen[np.argsort(-score[chosen], kind="stable")]
        source = found.rank[chosen].argmin(axis=1).astype(np.int8)
        return Candidates(found.items[chosen], source, score[chosen].astype(np.float32), self.names)

    def pool(self, query: Query, *, k: int) -> Pool:
        """Everything that the sources propose, before the choice of k."""
        query = _excluded_once(query)
        proposed = [
            source.propose(query, k=min(quota.ask, k))
            for source, quota in zip(self._sources, self._quotas, strict=True)
        ]
        return pool(proposed)


def _excluded_once(query: Query) -> Query:
    """The exclusions as part of the filter where there is one, so that sources check one thing."""
    if query.allowed is None or not len(query.exclude):
        return query
    allowed = query.allowed.copy()
    allowed[query.exclude] = False
    return replace(query, allowed=allowed, exclude=query.exclude[:0])
