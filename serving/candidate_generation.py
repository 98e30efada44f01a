"""Candidate generation: a request as the retriever's query, and its candidates as catalogue rows."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np

from features.spec import ModelInputs
from marketplace.schema import microseconds_of
from retrieval.candidates import Candidates, Query
from retrieval.index import CandidateIndex
from retrieval.item_filter import UnknownWord
from retrieval.surface_retriever import SurfaceRetriever
from serving.availability import Availability
from serving.item_table import ItemTable
from serving.request import Request, UnknownName
from serving.stages import Stages

CALLER = "caller"
NO_ROWS = np.empty(0, np.int32)


class QueryTower(Protocol):
    """Places a request in the items' space."""

    def embed(self, inputs: ModelInputs) -> np.ndarray:
        """float32 [d] from the user inputs of one request."""
        ...


class CandidateGenerator:
    """Candidates of a request: the caller's, or the retriever's; `tower` None = no source reads an embedding."""

    def __init__(
        self,
        retriever: SurfaceRetriever,
        item_table: ItemTable,
        *,
        availability: Availability,
        tower: QueryTower | None,
        index: CandidateIndex | None = None,
    ) -> None:
        """`index` is the one that the retriever searches."""
        self._retriever, self._item_table, self._tower, self.index = retriever, item_table, tower, index
        self._availability = availability
        for _, recipe in retriever.recipes.items():
            recipe.filters.check(item_table.filter_columns)

    def generate(
        self, request: Request, user_inputs: ModelInputs, *, history: np.ndarray, segment: str, k: int, stages: Stages
    ) -> Candidates:
        """The caller's candidates that the catalogue holds, or at most k of the retriever's.

        `history` int32: catalogue rows of what the user touched last, newest last. Raises UnknownName for a page that
        the catalogue does not hold, and where it holds none of the caller's candidates.
        """
        self._check_page(request)
        if request.candidates is not None:
            return self.of_caller(request.candidates)
        embedding = self.embed(user_inputs)
        stages.mark("embed")
        candidates = self.retrieve(request, history=history, segment=segment, embedding=embedding, k=k)
        stages.mark("retrieve")
        return candidates

    def embed(self, user_inputs: ModelInputs) -> np.ndarray | None:
        """float32 [d]: the request's place in the items' space."""
        return None if self._tower is None else self._tower.embed(user_inputs)

    def retrieve(
        self, request: Request, *, history: np.ndarray, segment: str, embedding: np.ndarray | None, k: int
    ) -> Candidates:
        """At most k candidates that may be shown and pass the filters; on a store page its merchant's alone.

        The item of a product page counts as touched now, and is not proposed. Raises UnknownName where a filter asks
        for what no item has.
        """
        time = microseconds_of(request.time)
        query = Query(
            user_id=request.user_id,
            segment=segment,
            history=history,
            embedding=embedding,
            allowed=self._allowed(request, time),
            exclude=self._excluded(request),
            time=time,
            surface=request.surface,
            text=request.query,
        )
        if request.page_item_id is not None:
            query = query.on_page_of(self._item_table.row[request.page_item_id])
        return self._retriever.retrieve(query, k=k, places=request.k)

    def _check_page(self, request: Request) -> None:
        item, merchant, table = request.page_item_id, request.page_merchant_id, self._item_table
        if item is not None and item not in table.row:
            raise UnknownName(f"page_item_id {item!r} is not in the catalogue")
        if merchant is not None and merchant not in table.merchant_code:
            raise UnknownName(f"page_merchant_id {merchant!r} sells nothing in the catalogue")

    @cached_property
    def popularity(self) -> np.ndarray | None:
        """float64 [bundled items]: each item's share of all touches; None = no source knows."""
        source = self._retriever.popularity
        return None if source is None else source.shares()

    @cached_property
    def by_popularity(self) -> np.ndarray:
        """int32: the rows of the bundle's items, the most popular first."""
        assert self.popularity is not None
        return np.argsort(-self.popularity, kind="stable").astype(np.int32)

    def eligible(self, request: Request) -> tuple[np.ndarray, np.ndarray]:
        """What may be shown to the request, bool [n_items], and rows int32 that must not be; raises UnknownName."""
        self._check_page(request)
        time = microseconds_of(request.time)
        allowed, excluded = self._allowed(request, time), self._excluded(request)
        if request.page_item_id is not None:
            excluded = np.append(excluded, np.int32(self._item_table.row[request.page_item_id]))
        return self._availability.mask(time) if allowed is None else allowed, excluded

    def of_caller(self, item_ids: tuple[str, ...]) -> Candidates:
        """The caller's candidates; raises UnknownName where the catalogue holds none of them."""
        rows = self._item_table.rows(item_ids)
        if len(rows) == 0:
            raise UnknownName("none of the candidates is in the catalogue; send item ids of this bundle's catalogue")
        return Candidates(rows, np.zeros(len(rows), np.int8), np.zeros(len(rows), np.float32), (CALLER,))

    def _allowed(self, request: Request, time: int) -> np.ndarray | None:
        table, masks = self._item_table, []
        if request.page_merchant_id is not None:
            masks.append(table.merchant == table.merchant_code[request.page_merchant_id])
        try:
            for filters in (self._retriever.recipes[request.surface].filters, request.filters):
                if (passing := filters.mask(table.filter_columns)) is not None:
                    masks.append(passing)
        except UnknownWord as error:
            raise UnknownName(str(error)) from error
        if not masks and self._availability.everything(time):
            return None
        return np.logical_and.reduce([self._availability.mask(time), *masks])

    def _excluded(self, request: Request) -> np.ndarray:
        return np.unique(self._item_table.rows(set(request.exclude))) if request.exclude else NO_ROWS
