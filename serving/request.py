"""What the engine is asked: one request, checked where it entered (`serving.payloads`)."""

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


def seed_of(request: Request) -> int:
    """The request's own seed, or 63 bits of the hash of its id."""
    if request.seed is not None:
        return request.seed
    return int.from_bytes(hashlib.sha256(request.request_id.encode()).digest()[:8], "big") >> 1


class UnknownName(LookupError):
    """The request names a merchant, item or candidates that the catalogue does not hold."""
