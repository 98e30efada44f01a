"""Which items could be shown: a request as the retriever's query, and its candidates as catalogue rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from features.snapshot import FeatureSnapshot
from features.spec import ModelInputs
from retrieval.index import CandidateIndex
from retrieval.retriever import Retriever
from retrieval.source import Query
from serving.item_table import ItemTable
from serving.request import Request, UnknownName

CALLER = "caller"


class QueryTower(Protocol):
    """Places a request in the items' space."""

    def embed(self, inputs: ModelInputs) -> np.ndarray:
        """float32 [d] from the user inputs of one request."""
        ...


@dataclass(frozen=True, eq=False)
class GeneratedCandidates:
    """n candidates: catalogue rows int32, the number of the source among `sources`, and its score of each."""

    rows: np.ndarray
    source: np.ndarray  # int8 [n]
    score: np.ndarray  # float32 [n]
    sources: tuple[str, ...]

    @property
    def source_name(self) -> np.ndarray:
        """str [n]."""
        return np.array(self.sources, object)[self.source]

    def only(self, kept: np.ndarray) -> GeneratedCandidates:
        """Those at the positions `kept`."""
        return GeneratedCandidates(self.rows[kept], self.source[kept], self.score[kept], self.sources)


class CandidateGenerator:
    """Candidates from the retriever; `tower` None = no source asks for an embedding."""

    def __init__(
        self, retriever: Retriever, shelf: ItemTable, *, tower: QueryTower | None, index: CandidateIndex | None = None
    ) -> None:
        """`index` is the one that the retriever searches."""
        self._retriever, self._shelf, self._tower, self.index = retriever, shelf, tower, index
        self._everything = bool(shelf.in_stock.all())

    def embed(self, inputs: ModelInputs) -> np.ndarray | None:
        return None if self._tower is None else self._tower.embed(inputs)

    def find(
        self, request: Request, *, history: np.ndarray, segment: str, embedding: np.ndarray | None, k: int
    ) -> GeneratedCandidates:
        """At most k candidates in stock; on a store page its merchant's alone."""
        query = Query(
            user_id=request.user_id,
            segment=segment,
            history=history,
            embedding=embedding,
            allowed=self._allowed(request),
            exclude=self._excluded(request),
            time=round(request.time.timestamp() * 1e6),
        )
        found = self._retriever.retrieve(query, k=k)
        return GeneratedCandidates(found.items, found.source, found.score, found.sources)

    def _allowed(self, request: Request) -> np.ndarray | None:
        if request.page_merchant_id is None:
            return None if self._everything else self._shelf.in_stock
        return self._shelf.in_stock & (self._shelf.merchant == self._shelf.merchant_code[request.page_merchant_id])

    def _excluded(self, request: Request) -> np.ndarray:
        if not request.exclude and request.page_item_id is None:
            return np.empty(0, np.int32)
        page = () if request.page_item_id is None else (request.page_item_id,)
        return np.unique(self._shelf.rows({*request.exclude, *page}))


def given(request: Request, shelf: ItemTable) -> GeneratedCandidates:
    """The caller's own candidates that the catalogue holds; raises UnknownName when it holds none."""
    rows = shelf.rows(request.candidates or ())
    if len(rows) == 0:
        raise UnknownName("none of the candidates is in the catalogue; send item ids of this bundle's catalogue")
    return GeneratedCandidates(rows, np.zeros(len(rows), np.int8), np.zeros(len(rows), np.float32), (CALLER,))


def check_names(request: Request, shelf: ItemTable) -> None:
    """Raise UnknownName for a page of an item or merchant that the catalogue does not hold."""
    if request.page_item_id is not None and request.page_item_id not in shelf.row:
        raise UnknownName(f"page_item_id {request.page_item_id!r} is not in the catalogue")
    if request.page_merchant_id is not None and request.page_merchant_id not in shelf.merchant_code:
        raise UnknownName(f"page_merchant_id {request.page_merchant_id!r} sells nothing in the catalogue")


def segment_of(request: Request, known: FeatureSnapshot, *, name: str) -> str:
    """The shopper's group: an entry of the request's context, or a category that the store knows; "" = none."""
    if name in request.context:
        return request.context[name]
    group = known.user_value(name)
    return group if isinstance(group, str) else ""
