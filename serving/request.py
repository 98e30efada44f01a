"""Ranking request: what the engine answers, checked where it entered (`serving.payloads`)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Self

import numpy as np

from retrieval.item_filter import NO_FILTER, ItemFilter


@dataclass(frozen=True)
class Request:
    """One request for a ranking; `candidates` None = the retriever proposes them.

    `time` is aware. `k` items are shown. `seed` decides every random draw of the answer: None = derived from the
    request id, so that a retry of a request draws the same slate. `price` float64 [candidates] are the caller's, in
    the market's currency, NaN = the catalogue's. `exclude` are items; `cursor` is the request id of the slate that this
    one continues; its list has `places_above` places on earlier pages. `beside`: cursors of the page's
    other lists, of which nothing is shown again. `numeric` and `categorical` hold the mapped
    features that came with the request, [1], and with its candidates, [candidates], as the slate will.
    """

    request_id: str
    time: datetime
    surface: str
    user_id: str
    k: int = 20
    session_id: str | None = None
    query: str | None = None
    page_merchant_id: str | None = None
    page_item_id: str | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    candidates: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    filters: ItemFilter = NO_FILTER
    cursor: str | None = None
    places_above: int = 0
    beside: tuple[str, ...] = ()
    seed: int | None = None
    price: np.ndarray | None = None
    numeric: Mapping[str, np.ndarray] = field(default_factory=dict)
    categorical: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def draw_seed(self) -> int:
        """`seed`, or 63 bits of the hash of the request id."""
        if self.seed is not None:
            return self.seed
        return int.from_bytes(hashlib.sha256(self.request_id.encode()).digest()[:8], "big") >> 1

    def only(self, kept: np.ndarray) -> Self:
        """With the caller's candidates at the positions `kept` alone, and what came with each."""
        names, n = self.candidates or (), len(self.candidates or ())

        def of_kept(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: values[kept] if len(values) == n else values for name, values in columns.items()}

        return replace(
            self,
            candidates=tuple(names[place] for place in kept),
            price=None if self.price is None else self.price[kept],
            numeric=of_kept(self.numeric),
            categorical=of_kept(self.categorical),
        )


class BadRequest(ValueError):
    """A field's content is refused for a reason that its type cannot tell."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class UnknownName(LookupError):
    """The request names a merchant, item or candidates that the catalogue does not hold."""
