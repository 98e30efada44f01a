"""The online store: what is known of users and items now, and the features of one request from it.

The twin of `features.backfill`: the same formulas read a `FeatureState` that is filled from counters here. The store
answers for now: it must have been told what happened before the request, and nothing later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from features.asof import NEVER, Timeline
from features.catalogue import Catalogue, words
from features.formulas import FeatureState
from features.shopper import NOBODY, UserInteractions, UserMemory, remembered
from features.snapshot import FeatureSnapshot, RequestText, context_features, item_facts, last_facts
from features.spec import FeatureSpec
from features.touches import HALF_LIFE, TOUCHES, WEIGHTS, Touches
from marketplace import slate_columns
from marketplace.dataset import Dataset
from marketplace.splits import microseconds

COUNTERS = ("impressions", "clicks", "orders", "popularity")
ANSWERS = {"clicks": TOUCHES.index("click"), "orders": TOUCHES.index("order")}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RESOLUTION = timedelta(microseconds=1)


class RequestContext(Protocol):
    """What the store reads of a request; `time` is aware."""

    @property
    def time(self) -> datetime: ...
    @property
    def user_id(self) -> str: ...
    @property
    def surface(self) -> str: ...
    @property
    def query(self) -> str | None: ...
    @property
    def page_merchant_id(self) -> str | None: ...
    @property
    def page_item_id(self) -> str | None: ...
    @property
    def context(self) -> Mapping[str, str]: ...


class FeatureStore(Protocol):
    """Remembers feedback and slates, and answers what is known of a request and its candidates."""

    catalogue: Catalogue

    def update(self, feedback: pa.Table) -> None:
        """Remember events (FEEDBACK), each once."""
        ...

    def show(self, slates: pa.Table) -> None:
        """Remember what was shown (SLATE), each slate once."""
        ...

    def history(self, user_id: str) -> np.ndarray:
        """int32: catalogue rows of the distinct items the user touched last, newest last."""
        ...

    def lookup(
        self,
        request: RequestContext,
        rows: np.ndarray,
        *,
        price: np.ndarray | None = None,
        asked: FeatureSnapshot | None = None,
    ) -> FeatureSnapshot:
        """What is known of `request` and candidates (int32 catalogue rows); `price` None = the catalogue's.

        `asked` is the answer for the same request without candidates, which is then not looked up again.
        """
        ...


class MemoryStore:
    """A `FeatureStore` in the memory of one process; one thread may write to it."""

    def __init__(self, spec: FeatureSpec, catalogue: Catalogue, users: pa.Table) -> None:
        self.spec = spec
        self.catalogue = catalogue
        self._context = context_features(spec)
        country, segment = (users[name].cast(pa.string()).to_pylist() for name in ("country", "segment"))
        self._profile = dict(zip(users["user_id"].to_pylist(), zip(country, segment, strict=True), strict=True))
        self._shoppers = UserMemory()
        self._touches = 0
        self._items = {name: np.zeros(len(catalogue)) for name in COUNTERS}
        self._popular_at = np.zeros(len(catalogue), np.int64)  # when `popularity` was that value
        self._all = dict.fromkeys(("impressions", *ANSWERS), 0.0)

    @classmethod
    def of(cls, dataset: Dataset, *, spec: FeatureSpec, until: datetime | None = None) -> MemoryStore:
        """A store that knows what `dataset` recorded strictly before `until` (None = everything)."""
        store = cls(spec, Catalogue.of(dataset), dataset.users)
        store.prime(dataset, until=until)
        return store

    def prime(self, dataset: Dataset, *, until: datetime | None = None) -> None:
        """Forget everything, and remember what `dataset` recorded strictly before `until`, at once."""
        fresh = MemoryStore(self.spec, self.catalogue, dataset.users)
        self.__dict__.update(fresh.__dict__)
        slates, feedback = before(dataset.slates, until), before(dataset.feedback, until)
        touches = Touches.of(feedback, self.catalogue)
        self._shoppers = UserMemory(remembered(touches))
        self._touches = len(touches.user)
        self._count(touches)
        self.show(slates)

    def update(self, feedback: pa.Table) -> None:
        """Remember events; an event told twice counts twice (the log drops duplicate deliveries)."""
        touches = Touches.of(feedback, self.catalogue)
        sequence = self._touches + np.arange(len(touches.user))
        for code, user_id in enumerate(touches.users.to_pylist()):
            own = touches.user == code
            shopper = self._shoppers.get(user_id)
            more = (touches.item[own], touches.kind[own], touches.time[own], sequence[own])
            self._shoppers.put(user_id, shopper.with_touches(*more))
        self._touches += len(sequence)
        self._count(touches)

    def show(self, slates: pa.Table) -> None:
        """Remember the impressions of slates."""
        items = self.catalogue.rows(slate_columns.flat(slates, "item_id").filter(pa.array(slate_columns.shown(slates))))
        np.add.at(self._items["impressions"], items[items >= 0], 1.0)
        self._all["impressions"] += len(items)

    def history(self, user_id: str) -> np.ndarray:
        history = self._shoppers.get(user_id).history
        return history[history >= 0]

    def lookup(
        self,
        request: RequestContext,
        rows: np.ndarray,
        *,
        price: np.ndarray | None = None,
        asked: FeatureSnapshot | None = None,
    ) -> FeatureSnapshot:
        """See `FeatureStore`; array operations over the candidates, none over the catalogue or the user's events."""
        shopper = self._shoppers.get(request.user_id)
        asked = self._asked(request, shopper) if asked is None else asked
        if len(rows) == 0:
            return asked
        state = replace(
            asked.state,
            offsets=np.array([0, len(rows)]),
            request=np.zeros(len(rows), np.int64),
            **item_facts(rows, self.catalogue.price[rows] if price is None else price, self.catalogue),
            **self._pairs(shopper, rows),
            **self._counters(rows, int(asked.state.time[0])),
        )
        return replace(asked, state=state)

    def _asked(self, request: RequestContext, shopper: UserInteractions) -> FeatureSnapshot:
        """What is known of a request that has no candidates yet."""
        history = shopper.history[None, :]
        counts: dict[str, Any] = {f"user_{kind}s": shopper.totals[k : k + 1] for k, kind in enumerate(TOUCHES)}
        everywhere: dict[str, Any] = {f"all_{name}": np.array([value]) for name, value in self._all.items()}
        state = FeatureState(
            offsets=np.zeros(2, np.int64),
            request=np.zeros(0, np.int64),
            time=np.array([(request.time - EPOCH) // RESOLUTION]),
            user_last=np.array([shopper.touched]),
            **counts,
            **last_facts(history, self.catalogue),
            **everywhere,
            **self._nothing,
        )
        return FeatureSnapshot(self.spec, self.catalogue, state, self._said(request), history)

    @cached_property
    def _nothing(self) -> dict[str, Any]:
        """The state's columns over no rows."""
        rows = np.zeros(0, np.int32)
        return item_facts(rows, np.zeros(0), self.catalogue) | self._pairs(NOBODY, rows) | self._counters(rows, 0)

    def save(self, path: Path) -> None:
        """Write everything remembered to one .npz file."""
        arrays: dict[str, Any] = {
            "catalogue": np.array(self._fingerprint()),
            "arrived": np.array(self._touches),
            "everywhere": np.array([self._all[name] for name in sorted(self._all)]),
            "popular_at": self._popular_at,
        }
        arrays |= {f"item_{name}": values for name, values in self._items.items()}
        arrays |= {f"user_{name}": values for name, values in self._shoppers.block().items()}
        np.savez(path, **arrays)

    def restore(self, path: Path) -> None:
        """Remember what was saved, and nothing else.

        Raises ValueError where it was saved over another catalogue.
        """
        with np.load(path, allow_pickle=False) as saved:
            if str(saved["catalogue"]) != self._fingerprint():
                raise ValueError(f"{path}: saved over another catalogue; prime the store from the data set instead.")
            self._touches = int(saved["arrived"])
            self._all = dict(zip(sorted(self._all), saved["everywhere"].tolist(), strict=True))
            self._popular_at = saved["popular_at"]
            self._items = {name: saved[f"item_{name}"] for name in COUNTERS}
            names = [name for name in saved.files if name.startswith("user_")]
            self._shoppers = UserMemory({name.removeprefix("user_"): saved[name] for name in names})

    def _count(self, touches: Touches) -> None:
        """Add touches to the items' counters."""
        n = len(self.catalogue)
        for name, kind in ANSWERS.items():
            counted = touches.answers & (touches.kind == kind)
            self._all[name] += counted.sum()
            items = touches.item[counted]
            self._items[name] += np.bincount(items[items >= 0], minlength=n)
        known = touches.only(touches.item >= 0)
        if len(known.item) == 0:
            return
        line = Timeline(known.item, known.time)
        added = line.decayed_at_events(WEIGHTS[known.kind], half_life=HALF_LIFE)[line.group_ends]
        added_at, items = line.time[line.group_ends], np.unique(known.item)
        before, value = self._popular_at[items], self._items["popularity"][items]
        now = np.maximum(before, added_at)
        added = added * np.exp2(-(now - added_at) / HALF_LIFE)
        self._items["popularity"][items] = value * np.exp2(-(now - before) / HALF_LIFE) + added
        self._popular_at[items] = now

    def _counters(self, rows: np.ndarray, time: int) -> dict[str, Any]:
        unknown = np.flatnonzero(rows < 0)
        counters = {name: values[rows] for name, values in self._items.items()}
        for values in counters.values():
            values[unknown] = 0.0
        counters["popularity"] *= np.exp2(-(time - self._popular_at[rows]) / HALF_LIFE)
        return counters

    def _pairs(self, shopper: UserInteractions, rows: np.ndarray) -> dict[str, Any]:
        place, found = shopper.find(rows)
        counts = np.zeros((len(TOUCHES), len(rows)))
        counts[:, found] = shopper.counts[place[found]].T
        last = np.full(len(rows), NEVER)
        last[found] = shopper.last[place[found]]
        result: dict[str, Any] = {f"pair_{kind}s": counts[k] for k, kind in enumerate(TOUCHES)}
        result["pair_last"] = last
        catalogue, unknown = self.catalogue, np.flatnonzero(rows < 0)
        groups = {
            "category": (catalogue.category, len(catalogue.category_names)),
            "merchant": (catalogue.merchant, len(catalogue.merchant_names)),
        }
        for name, (code, size) in groups.items():
            own = np.bincount(code[shopper.item], shopper.touches, minlength=size)[code[rows]]
            own[unknown] = 0.0
            result[f"{name}_touches"] = own
        return result

    def _said(self, request: RequestContext) -> RequestText:
        country, segment = self._profile.get(request.user_id, (None, None))
        plain: dict[str, str | list[str] | None] = {
            "user_id": request.user_id,
            "surface": request.surface,
            "page_merchant": request.page_merchant_id,
            "page_item": request.page_item_id,
            "user_country": country,
            "user_segment": segment,
        }
        plain |= {name: request.context.get(name) for name in self._context}
        return RequestText(plain | {"query_tokens": words(request.query)})

    def _fingerprint(self) -> str:
        return hashlib.sha256("\n".join(self.catalogue.item_id.to_pylist()).encode()).hexdigest()


def before(table: pa.Table, until: datetime | None) -> pa.Table:
    """The rows of `table` (sorted by time) strictly before `until`."""
    if until is None:
        return table
    return table.slice(0, int(np.searchsorted(microseconds(table["time"]), (until - EPOCH) // RESOLUTION)))
