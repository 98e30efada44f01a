"""Retriever: the proposals of several sources as one list of candidates."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field

from marketplace.toml_model import Fix
from retrieval.blend import ABSENT, Blend, CandidatePool, ScoringSource, fused, pool
from retrieval.candidates import Candidates, CandidateSource, NarrowingSource, Query
from retrieval.decayed import first_allowed

CATALOGUE = "catalogue"  # the fallback that needs no source: whatever is allowed, by catalogue row
MOST_ASKED = 5_000  # items of one source

Items = Annotated[int, Field(ge=0, le=MOST_ASKED), Fix(f"Write a whole number of items, 0 to {MOST_ASKED}.")]
Share = Annotated[float, Field(ge=0, le=1), Fix("Write a share, 0 to 1.")]

TIE = 0.1  # of the fused ranks, of which the first is 1/60: less than any difference that a blend means


@dataclass(frozen=True)
class Quota:
    """How many items a source is asked for, and how many of its best are sure to be in the answer.

    These are `sure`, or the `share` of all candidates where that is more. `ask` 0: its score alone counts.
    """

    ask: Items
    sure: Items = 0
    share: Share = 0.0

    def surely(self, k: int) -> int:
        """Of its best, those that k candidates hold whatever their scores."""
        return max(self.sure, math.ceil(self.share * k))


class Retriever:
    """Merges sources: each one's sure items, and the best of the rest by one score.

    The score is a learned `Blend` of what every source makes of the item, plus TIE x the fusion of ranks: items that
    the blend cannot tell apart, such as most of those for a shopper without a past, follow the sources' order.
    Without a blend it is the fusion of ranks. A candidate's source is the one that ranks it best (the earlier source
    where two do). Candidates come best score first, equal scores by catalogue row, so that the same query gives the
    same answer; behind them, in the order of the fallback sources, those that fill a short list. A source that narrows
    (the words of a search) says first among which items all of them propose.

    A source that learned counts knows the items of its time alone: a later item gets the least of the scores that it
    gives to the others of the request. Sources that say so themselves (`knows_new`) see every item.
    """

    def __init__(
        self,
        sources: Sequence[CandidateSource],
        quotas: Mapping[str, Quota],
        *,
        blend: Blend | None = None,
        relevant: Collection[str] = (),
        fallback: Sequence[CandidateSource] = (),
        least: int = 0,
        rows: int | None = None,
    ) -> None:
        """`quotas` by source name. The blend has a weight for each that can score any item (`ScoringSource`).

        `relevant`: names of sources one of which must propose a candidate, none = any source. `fallback` fills up to
        `least` candidates. `rows` = how many items there were when the sources learned, None = all there are.
        """
        names = tuple(source.name for source in sources)
        if len(set(names)) != len(names):
            raise ValueError(f"sources must have different names, received {names}")
        if set(quotas) != set(names):
            raise ValueError(f"quotas are for {sorted(quotas)}, sources are {sorted(names)}; give each source one")
        self.names = tuple(dict.fromkeys([*names, *(source.name for source in fallback)]))
        self._sources, self._fallback, self._least = tuple(sources), tuple(fallback), least
        self._quotas = tuple(quotas[name] for name in names)
        self._blend, self._rows = blend, rows
        self._scoring = tuple(source for source in sources if isinstance(source, ScoringSource))
        self._relevant = np.array([name in relevant for name in names])
        self._narrowing = tuple(source for source in sources if isinstance(source, NarrowingSource))
        if blend is not None and len(blend.weights) != len(self._scoring):
            raise ValueError(f"the blend has {len(blend.weights)} weights, the sources that score are {self.scoring}")

    @property
    def scoring(self) -> tuple[str, ...]:
        """The sources that a blend weighs, by name."""
        return tuple(source.name for source in self._scoring)

    def retrieve(self, query: Query, *, k: int, places: int = 0) -> Candidates:
        """At most k distinct allowed candidates; `score` is the blend's, or the fused ranks'.

        Where fewer come than `least`, or than there are `places` to fill, the fallback is asked.
        """
        query = _excluded_once(self._narrowed(query))
        candidates = self._proposed(query, most=None)
        score = fused(candidates)
        if self._blend is not None:
            score = self._blend.score(self._scores(query, candidates.items)) + TIE * score
        # The pool is sorted by row: stable sorts keep equal scores in that order.
        order = np.argsort(-score, kind="stable")
        surely = np.array([quota.surely(k) for quota in self._quotas])
        if surely.any():
            sure: np.ndarray = np.less(candidates.rank, surely).any(axis=1)[order]
            kept = np.sort(np.concatenate([order[sure], order[~sure]])[:k])
            order = kept[np.argsort(-score[kept], kind="stable")]
        chosen = order[:k]
        source = candidates.rank.take(chosen, axis=0).argmin(axis=1).astype(np.int8)
        best = Candidates(candidates.items[chosen], source, score[chosen].astype(np.float32), self.names)
        short = min(k, max(self._least, places)) - len(chosen)
        return best if short <= 0 else self._filled(best, query, short)

    def _filled(self, candidates: Candidates, query: Query, short: int) -> Candidates:
        """The candidates and at most `short` more of the fallback's; their score lies below every other."""
        for source in self._fallback:
            more = source.propose(without(self._as_known(query, source), candidates.items), k=short)[0]
            candidates, short = candidates.followed_by(more, source=self.names.index(source.name)), short - len(more)
            if short <= 0:
                break
        return candidates

    def pool(self, query: Query, *, k: int | None = None) -> CandidatePool:
        """Everything that the sources propose, before the choice: to fit a blend on. `k` = the most of one source."""
        query = _excluded_once(self._narrowed(query))
        candidates = self._proposed(query, most=k)
        return replace(candidates, scores=self._scores(query, candidates.items)) if self._scoring else candidates

    def _proposed(self, query: Query, *, most: int | None) -> CandidatePool:
        asks = [quota.ask if most is None else min(quota.ask, most) for quota in self._quotas]
        nothing = np.empty(0, np.int32)  # of a source whose score alone counts
        both = zip(self._sources, asks, strict=True)
        proposed = pool(
            [source.propose(self._as_known(query, source), k=ask)[0] if ask else nothing for source, ask in both]
        )
        if not self._relevant.any():
            return proposed
        vouched: np.ndarray = np.less(proposed.rank[:, self._relevant], ABSENT).any(axis=1)
        return proposed.select(vouched)

    def _narrowed(self, query: Query) -> Query:
        for source in self._narrowing:
            query = source.narrowed(query)
        return query

    def _scores(self, query: Query, items: np.ndarray) -> np.ndarray:
        """Float [n, S] of `items`, sorted."""
        known = len(items) if self._rows is None else int(np.searchsorted(items, self._rows))

        def column(source: ScoringSource) -> np.ndarray:
            if known == len(items) or knows_new(source):
                return source.score(self._as_known(query, source), items)
            scores = source.score(self._as_known(query, source), items[:known])
            return np.append(scores, np.full(len(items) - known, scores.min() if known else 0.0))

        return np.stack([column(source) for source in self._scoring], axis=1)

    def _as_known(self, query: Query, source: CandidateSource) -> Query:
        """The query as the source can read it: without items of history and page that began after it learned."""
        if self._rows is None or knows_new(source):
            return query
        page = query.page_item if query.page_item is not None and query.page_item < self._rows else None
        if page == query.page_item and query.history.max(initial=-1) < self._rows:
            return query
        return replace(query, history=query.history[query.history < self._rows], page_item=page)


def knows_new(source: CandidateSource) -> bool:
    """Whether a source knows items that began after it was saved."""
    return getattr(source, "knows_new", False)


def _excluded_once(query: Query) -> Query:
    """The exclusions as part of the filter where there is one, so that sources check one thing."""
    if query.allowed is None or not len(query.exclude):
        return query
    allowed = query.allowed.copy()
    allowed[query.exclude] = False
    return replace(query, allowed=allowed, exclude=query.exclude[:0])


def without(query: Query, items: np.ndarray) -> Query:
    """The query that does not allow some items either."""
    return replace(query, exclude=np.union1d(query.exclude, items).astype(np.int32))


class WholeCatalogue:
    """Every allowed item, by catalogue row: what is left to show where no source proposes anything."""

    name = CATALOGUE
    knows_new = True

    def __init__(self, n_items: int) -> None:
        self._rows = np.arange(n_items, dtype=np.int32)

    def propose(self, query: Query, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The first k."""
        rows = self._rows if query.allowed is None else np.flatnonzero(query.allowed).astype(np.int32)
        return first_allowed(rows, np.zeros(len(rows), np.float32), query, k=k)
