"""Online store: what is known of users and items now, and the features of one request from it.

The twin of `features.backfill`: the same formulas read a `FeatureState`, which the same statistics fill from their
memories here. The store answers for now: what happened before the request must have come in, and nothing later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from features.catalogue import Catalogue
from features.definitions import statistics_of
from features.item_columns import item_facts
from features.lexical_features import lexical_columns, not_searched, reads_words
from features.request_text import RequestText, context_features
from features.segments import UserSegments
from features.sent import MappedShoppers, candidate_numbers, candidate_words, request_number, request_word
from features.snapshot import FeatureSnapshot
from features.spec import FeatureSpec, Kind, Source
from features.state import FeatureState
from features.statistics.keyed_memory import MemorySize, memory_size
from features.statistics.statistic import Columns, EventLog, Visitor
from features.text.normal_form import words
from marketplace.dataset import Dataset
from marketplace.schema import microseconds_of
from marketplace.splits import microseconds

NOBODY = Visitor("", None, 0)
REMAKE = "make it from the data set (`MemoryStore.of`) instead."


class RequestContext(Protocol):
    """Request context: what the store reads of a request; `time` is aware."""

    @property
    def time(self) -> datetime: ...
    @property
    def user_id(self) -> str: ...
    @property
    def session_id(self) -> str | None: ...
    @property
    def surface(self) -> str: ...
    @property
    def query(self) -> str | None: ...
    @property
    def page_merchant_id(self) -> str | None: ...
    @property
    def page_item_id(self) -> str | None: ...
    @property
    def context(self) -> Mapping[str, str | None]: ...
    @property
    def numeric(self) -> Mapping[str, np.ndarray]:
        """Mapped numbers by name, [1] of the request or [n] of its candidates; others may stand beside them."""
        ...

    @property
    def categorical(self) -> Mapping[str, np.ndarray]:
        """Mapped words by name, likewise."""
        ...


class StoreUnavailable(ValueError):
    """The feature store cannot be read or written now: says why."""


class FeatureStore(Protocol):
    """Feature store: remembers feedback and slates, and looks up what is known of a request and its candidates."""

    catalogue: Catalogue

    def update(self, feedback: pa.Table) -> None:
        """Remember events (FEEDBACK). Every row counts: a repeated delivery must have been dropped, as the log does."""
        ...

    def show(self, slates: pa.Table) -> None:
        """Remember what was shown (SLATE). Every slate counts, a repeated one too."""
        ...

    def lookup(
        self,
        request: RequestContext,
        rows: np.ndarray,
        *,
        price: np.ndarray | None = None,
        snapshot: FeatureSnapshot | None = None,
    ) -> FeatureSnapshot:
        """What is known of `request` and candidates (int32 catalogue rows); `price` None = the catalogue's.

        `snapshot` is the answer for the same request without candidates, which is then not looked up again.
        """
        ...


class SavedStore(FeatureStore, Protocol):
    """A feature store of one process, which can be written to a file."""

    def save(self, path: Path, *, extra: Mapping[str, np.ndarray] = MappingProxyType({})) -> None:
        """Write everything remembered to one .npz file, and `extra` beside it."""
        ...

    def restore(self, path: Path) -> None:
        """Remember what was saved, and nothing else; raises ValueError, and changes nothing, where that cannot be."""
        ...


@runtime_checkable
class SharedStore(FeatureStore, Protocol):
    """A feature store of several processes, which holds how far the log was read; positions are texts of the reader's.

    Its methods raise StoreUnavailable.
    """

    def position(self) -> str:
        """How far the log was read, "" = from its beginning."""
        ...

    def begun(self, kind: str, names: Sequence[str]) -> list[int]:
        """The number of each item, or other `kind`, that began after the bundle's, from 0, the same for all."""
        ...

    def learn(self, feedback: pa.Table | None, slates: pa.Table | None, *, after: str, upto: str) -> bool:
        """Remember FEEDBACK and SLATE rows of the log that lie between two positions.

        False, and nothing is remembered, where the store is not at `after`: another process was quicker.
        """
        ...


class MemoryStore:
    """A `SavedStore` in the memory of one process; one thread may write to it."""

    def __init__(self, spec: FeatureSpec, catalogue: Catalogue, users: pa.Table) -> None:
        self.spec = spec
        self.catalogue = catalogue
        self._context = context_features(spec)
        country, segment = (users[name].cast(pa.string()).to_pylist() for name in ("country", "segment"))
        self._profile = dict(zip(users["user_id"].to_pylist(), zip(country, segment, strict=True), strict=True))
        self.segments, self._shoppers = UserSegments(users), MappedShoppers(users, spec)
        self._of_request = {kind: [f for f in spec.mapped(Source.REQUEST) if f.kind is kind] for kind in Kind}
        self._of_candidate = {kind: [f for f in spec.mapped(Source.CANDIDATE) if f.kind is kind] for kind in Kind}
        self._reads_words = reads_words(spec)
        self.statistics = [statistic(catalogue) for statistic in statistics_of(spec)]

    @classmethod
    def of(cls, dataset: Dataset, *, spec: FeatureSpec, until: datetime | None = None) -> MemoryStore:
        """A store that knows what `dataset` recorded strictly before `until` (None = everything)."""
        store = cls(spec, Catalogue.of(dataset), dataset.users)
        store.update(before(dataset.feedback, until))
        store.show(before(dataset.slates, until))
        return store

    def update(self, feedback: pa.Table) -> None:
        """See `FeatureStore`."""
        self._remember(EventLog.of(self.catalogue, feedback=feedback, segments=self.segments))

    def show(self, slates: pa.Table) -> None:
        """See `FeatureStore`."""
        self._remember(EventLog.of(self.catalogue, slates=slates, segments=self.segments))

    def lookup(
        self,
        request: RequestContext,
        rows: np.ndarray,
        *,
        price: np.ndarray | None = None,
        snapshot: FeatureSnapshot | None = None,
    ) -> FeatureSnapshot:
        """See `FeatureStore`; array operations over the candidates, none over the catalogue or the user's events."""
        visitor = self.visitor(request)
        snapshot = self._without_rows(request, visitor) if snapshot is None else snapshot
        if len(rows) == 0:
            return snapshot
        state = replace(
            snapshot.state,
            offsets=np.array([0, len(rows)]),
            request=np.zeros(len(rows), np.int64),
            statistics={**snapshot.state.statistics, **self._of_rows(visitor, rows), **self._words(request, rows)},
            sent={**snapshot.state.sent, **self._candidate_numbers(request, len(rows))},
            **item_facts(rows, self.catalogue.price[rows] if price is None else price, self.catalogue),
        )
        return replace(snapshot, state=state, candidate_words=self._candidate_words(request, len(rows)))

    def visitor(self, request: RequestContext) -> Visitor:
        """Who sends a request."""
        page = -1 if request.page_item_id is None else self.catalogue.row.get(request.page_item_id, -1)
        time = microseconds_of(request.time)
        return Visitor(request.user_id, request.session_id, time, page, self.segments[request.user_id])

    def save(self, path: Path, *, extra: Mapping[str, np.ndarray] = MappingProxyType({})) -> None:
        """Write everything remembered to one .npz file, and `extra` beside it."""
        arrays = {**extra, "catalogue": np.array(self._fingerprint())}
        for statistic in self.statistics:
            arrays |= {f"{statistic.name}.{name}": values for name, values in statistic.saved().items()}
        np.savez(path, **arrays)  # type: ignore[arg-type]

    def restore(self, path: Path) -> None:
        """Remember what was saved, and nothing else.

        Raises ValueError, and remembers what it did, where it was saved over another catalogue, or without a statistic
        that the spec needs.
        """
        restored = [statistic(self.catalogue) for statistic in statistics_of(self.spec)]
        with np.load(path, allow_pickle=False) as saved:
            if str(saved["catalogue"]) != self._fingerprint():
                raise ValueError(f"{path}: saved over another catalogue; {REMAKE}")
            for statistic in restored:
                prefix = f"{statistic.name}."
                arrays = {name.removeprefix(prefix): saved[name] for name in saved.files if name.startswith(prefix)}
                try:
                    statistic.restore(arrays)
                except KeyError as missing:
                    raise ValueError(
                        f"{path}: saved before {prefix}{missing.args[0]} was remembered; {REMAKE}"
                    ) from None
        self.statistics = restored

    def sizes(self) -> list[MemorySize]:
        """How much is remembered, by statistic and memory."""
        return [
            memory_size(memory, statistic=statistic.name, name=name)
            for statistic in self.statistics
            for name, memory in statistic.memories.items()
        ]

    def _remember(self, log: EventLog) -> None:
        for statistic in self.statistics:
            statistic.update(log)

    def _of_user(self, visitor: Visitor) -> Columns:
        columns: Columns = {}
        for statistic in self.statistics:
            columns |= statistic.of_user(visitor)
        return columns

    def _of_rows(self, visitor: Visitor, rows: np.ndarray) -> Columns:
        columns: Columns = {}
        for statistic in self.statistics:
            columns |= statistic.of_rows(visitor, rows)
        return columns

    def _words(self, request: RequestContext, rows: np.ndarray) -> Columns:
        """How the candidates answer the search, where the spec asks for it."""
        return lexical_columns(self.catalogue.lexical_index, request.query, rows) if self._reads_words else {}

    def _without_rows(self, request: RequestContext, visitor: Visitor) -> FeatureSnapshot:
        """What is known of a request that has no candidates yet."""
        state = FeatureState(
            offsets=np.zeros(2, np.int64),
            request=np.zeros(0, np.int64),
            time=np.array([visitor.time]),
            statistics=self._empty_columns | self._of_user(visitor),
            sent=self._sent_numbers(request),
            **item_facts(np.zeros(0, np.int32), np.zeros(0), self.catalogue),
        )
        words = self._candidate_words(request, 0)
        return FeatureSnapshot(self.spec, self.catalogue, state, self._text(request), candidate_words=words)

    def _sent_numbers(self, request: RequestContext) -> Columns:
        of_request = {f.name: request_number(f, request.numeric) for f in self._of_request[Kind.NUMBER]}
        return self._shoppers.numbers(request.user_id) | of_request | self._candidate_numbers(request, 0)

    def _candidate_numbers(self, request: RequestContext, rows: int) -> Columns:
        features = self._of_candidate[Kind.NUMBER]
        return {f.name: candidate_numbers(f, request.numeric, rows=rows) for f in features}

    def _candidate_words(self, request: RequestContext, rows: int) -> dict[str, pa.Array]:
        features = self._of_candidate[Kind.CATEGORY]
        return {f.name: candidate_words(f, request.categorical, rows=rows) for f in features}

    @cached_property
    def _empty_columns(self) -> Columns:
        """The columns of no rows."""
        words = not_searched(0) if self._reads_words else {}
        return self._of_rows(NOBODY, np.zeros(0, np.int32)) | words

    def _text(self, request: RequestContext) -> RequestText:
        country, segment = self._profile.get(request.user_id, (None, None))
        plain: dict[str, str | list[str] | None] = {
            "user_id": request.user_id,
            "surface": request.surface,
            "page_merchant": request.page_merchant_id,
            "page_item": request.page_item_id,
            "page_category": self.catalogue.category_of(request.page_item_id),
            "user_country": country,
            "user_segment": segment,
        }
        plain |= {name: request.context.get(name) for name in self._context}
        plain |= self._shoppers.words(request.user_id)
        plain |= {f.name: request_word(f, request.categorical) for f in self._of_request[Kind.CATEGORY]}
        return RequestText(plain | {"query_tokens": words(request.query)})

    def _fingerprint(self) -> str:
        """Of the items that the catalogue began with; room for new ones does not count."""
        return hashlib.sha256("\n".join(filter(None, self.catalogue.item_id.to_pylist())).encode()).hexdigest()


def before(table: pa.Table, until: datetime | None) -> pa.Table:
    """The rows of `table` (sorted by time) strictly before `until`."""
    if until is None:
        return table
    return table.slice(0, int(np.searchsorted(microseconds(table["time"]), microseconds_of(until))))
