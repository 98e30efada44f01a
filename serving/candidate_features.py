"""Candidate features: the candidates of one request with all that the ranker, the formula and the log read of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from features.snapshot import FeatureSnapshot
from features.spec import Group, ModelInputs
from features.store import FeatureStore
from marketplace.schema import FIRST_RANK, FIRST_VALUE
from retrieval.candidates import Candidates
from serving.admission import prices
from serving.candidate_budget import CandidateBudget
from serving.deadline import Deadline
from serving.parts import Parts
from serving.request import Request
from serving.search_relevance import SearchRelevance
from serving.stages import Stages

NO_ROWS = np.empty(0, np.int32)


@dataclass(frozen=True, eq=False)
class FirstRanking:
    """What the first phase said of n candidates: value float64 [n], rank int64 [n] among `considered`, 1 = best."""

    value: np.ndarray
    rank: np.ndarray
    considered: int

    def entries(self, places: np.ndarray) -> dict[str, np.ndarray]:
        """float32 by name, as logged, of some of them."""
        columns = {FIRST_VALUE: self.value, FIRST_RANK: self.rank}
        return {name: column[places].astype(np.float32) for name, column in columns.items()}

    def only(self, kept: np.ndarray) -> FirstRanking:
        """Those at the positions `kept`."""
        return FirstRanking(self.value[kept], self.rank[kept], self.considered)


def first_ranking(value: np.ndarray) -> FirstRanking:
    """Of all candidates' values by the first phase."""
    rank = np.empty(len(value), np.int64)
    rank[np.argsort(-value, kind="stable")] = np.arange(1, len(value) + 1)
    return FirstRanking(value, rank, len(value))


@dataclass(frozen=True, eq=False)
class CandidateFeatures:
    """n candidates; `first` None = all are ranked at once."""

    candidates: Candidates
    snapshot: FeatureSnapshot
    inputs: ModelInputs
    segment: str  # the shopper's group
    search: SearchRelevance | None = None  # None = nothing is searched
    relevance: np.ndarray | None = None  # int64 [n]: whoever has the higher number comes first (`SlateSelector`)
    first: FirstRanking | None = None

    @property
    def rows(self) -> np.ndarray:
        """int32 [n], of the catalogue."""
        return self.candidates.items

    @property
    def considered(self) -> int:
        """How many candidates some phase scored."""
        return len(self.rows) if self.first is None else self.first.considered

    def only(self, kept: np.ndarray, first: FirstRanking) -> CandidateFeatures:
        """Those at the positions `kept`."""
        per_row = {f.name: getattr(self.inputs, f.name)[kept] for f in fields(ModelInputs) if f.name[:4] != "user"}
        return CandidateFeatures(
            self.candidates.select(kept),
            self.snapshot.only(kept),
            replace(self.inputs, **per_row),
            self.segment,
            search=None if self.search is None else self.search.only(kept),
            relevance=None if self.relevance is None else self.relevance[kept],
            first=first.only(kept),
        )


def candidate_features(
    request: Request,
    parts: Parts,
    store: FeatureStore,
    *,
    budget: CandidateBudget,
    deadline: Deadline,
    stages: Stages,
) -> CandidateFeatures:
    """The candidates of a request; near the deadline the best by retrieval alone, but all of the caller's own.

    Raises UnknownName.
    """
    item_table = parts.item_table
    user = store.lookup(request, NO_ROWS)
    user_inputs = user.user_inputs(parts.encoder, item_table.encoded)
    segment = segment_of(request, user, name=parts.config.segment)
    stages.mark("store_user")
    candidates = parts.candidate_generator.generate(
        request, user_inputs, history=user.touched(), segment=segment, k=parts.config.candidates, stages=stages
    )
    if request.candidates is None:
        n = len(candidates.items)
        fitting = budget.fitting(n, left=deadline.left(), places=request.k)
        candidates = candidates if fitting == n else candidates.first(fitting)
    rows = candidates.items
    snapshot = store.lookup(request, rows, price=prices(request, item_table.price.take(rows)), snapshot=user)
    stages.mark("store_items")
    inputs = replace(
        user_inputs,
        # `take` gathers rows of a table in less than half the time of an index.
        item_codes=item_table.encoded.codes.take(rows, axis=0),
        item_lists=item_table.encoded.lists.take(rows, axis=0),
        item_numbers=item_table.numbers.take(rows, axis=0) if request.price is None else snapshot.numbers(Group.ITEM),
        cross_codes=snapshot.cross_codes(parts.encoder),
        cross_numbers=snapshot.numbers(Group.CROSS),
        request=np.zeros(len(rows), np.int32),
    )
    stages.mark("encode")
    search = None
    if parts.lexical_index is not None and request.query is not None:
        search = SearchRelevance.of(parts.lexical_index.match(request.query), rows)
    relevance = parts.slate_selector.relevance(None if search is None else search.grade, candidates.score)
    return CandidateFeatures(candidates, snapshot, inputs, segment, search, relevance)


def segment_of(request: Request, user: FeatureSnapshot, *, name: str) -> str:
    """The shopper's group: an entry of the request's context, or a category that the store knows; "" = none."""
    if name in request.context:
        return request.context[name]
    group = user.user_value(name)
    return group if isinstance(group, str) else ""
