"""Ranking request: what the engine answers, checked where it entered (`serving.payloads`)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Request:
    """One request for a ranking; `candidates` None = the retriever proposes them.

    `time` is aware. `k` items are shown. `seed` decides every random draw of the answer: None = derived from the
    request id, so that a retry of a request draws the same slate.
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
    seed: int | None = None

    @property
    def draw_seed(self) -> int:
        """`seed`, or 63 bits of the hash of the request id."""
        if self.seed is not None:
            return self.seed
        return int.from_bytes(hashlib.sha256(self.request_id.encode()).digest()[:8], "big") >> 1


class UnknownName(LookupError):
    """The request names a merchant, item or candidates that the catalogue does not hold."""
