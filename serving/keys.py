"""API keys: what the holder of each may do, from a TOML file or text; only the hashes of keys are kept.

[shop-front]
sha256 = "..."                    # of the key: printf %s "$KEY" | sha256sum
scopes = ["rank", "feedback"]
per_second = 50                   # requests that each worker takes of it, on average  [no limit]
burst = 100                       # and at once  [those of a second]
priority = "low"                  # refused as soon as requests wait: what may come back later  ["normal"]
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Protocol

from pydantic import Field

from marketplace.finding import DataError, FieldError, Finding
from marketplace.toml_model import Fix, as_model
from marketplace.toml_text import parse_toml
from serving.rate_limits import RateLimit


class KeyScope(StrEnum):
    """What a key is good for."""

    RANK = "rank"  # slates
    FEEDBACK = "feedback"  # events that answer slates
    CATALOGUE = "catalogue"  # items and merchants
    EVENTS = "events"  # any events: those that answer no slate, or one of another log
    TEST = "test"  # seeds of one's choice, the candidate source of each item, and any slate explained
    ADMIN = "admin"  # all of these


class Priority(StrEnum):
    """Whose requests a busy worker refuses first."""

    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True)
class KeyEntry:
    """One table of the file."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$"), Fix("Write the 64 hex digits of `sha256sum`.")]
    scopes: Annotated[tuple[KeyScope, ...], Field(min_length=1), Fix(f"Write some of {', '.join(KeyScope)} in a list.")]
    per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    burst: Annotated[int, Field(ge=1)] | None = None
    priority: Annotated[Priority, Fix('Write "normal" or "low".')] = Priority.NORMAL

    def __post_init__(self) -> None:
        if self.per_second is None and self.burst is not None:
            raise FieldError("has a burst and no per_second", "Write per_second = 50, or leave burst out.", key="burst")

    @property
    def limit(self) -> RateLimit | None:
        if self.per_second is None:
            return None
        return RateLimit(self.per_second, self.burst or max(1, math.ceil(self.per_second)))


@dataclass(frozen=True)
class Caller:
    """Who holds a key: its name in the file, scopes, priority, and how often it may ask a worker (None = at will)."""

    name: str
    scopes: frozenset[KeyScope]
    limit: RateLimit | None = None
    priority: Priority = Priority.NORMAL

    def may(self, scope: KeyScope) -> bool:
        return scope in self.scopes or KeyScope.ADMIN in self.scopes


# What each route needs, one of them; None = no key. A route that is not named here needs the scope admin.
ROUTES: Mapping[str, tuple[KeyScope, ...] | None] = {
    **dict.fromkeys(("/v1/recommend", "/v1/search", "/v1/rank", "/v1/page"), (KeyScope.RANK,)),
    "/v1/explain/<path:request_id>": (KeyScope.TEST,),
    "/v1/feedback": (KeyScope.FEEDBACK, KeyScope.EVENTS),
    **dict.fromkeys(("/v1/items", "/v1/items/<path:item_id>", "/v1/merchants"), (KeyScope.CATALOGUE,)),
    **dict.fromkeys(
        (
            "/v1/policy",
            "/v1/policy/rollback",
            "/v1/policy/versions",
            "/v1/policy/versions/<int:number>",
            "/v1/bundles",
            "/v1/bundles/<bundle_id>/activate",
        ),
        (KeyScope.ADMIN,),
    ),
    **dict.fromkeys(("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs")),
}
EVERYBODY = Caller("", frozenset(KeyScope))  # where no keys are configured


def key_mark(key: str) -> str:
    """What a session keeps of a key: it tells whose it is to the ring alone, and opens nothing."""
    return _mark(hashlib.sha256(key.encode()).digest())


def _mark(digest: bytes) -> str:
    return hashlib.sha256(b"mark of " + digest).hexdigest()


class Keys(Protocol):
    """The keys of one service."""

    def caller(self, key: str) -> Caller | None:
        """The holder of a key, None = nobody."""
        ...

    def holder(self, mark: str) -> Caller | None:
        """Who holds the key of a `key_mark`, None = nobody, or nobody any more."""
        ...


class KeyRing:
    """Keys that stay as they are."""

    def __init__(self, entries: Mapping[str, KeyEntry]) -> None:
        self._callers = [
            (bytes.fromhex(entry.sha256), Caller(name, frozenset(entry.scopes), entry.limit, entry.priority))
            for name, entry in entries.items()
        ]

    @classmethod
    def from_toml(cls, content: bytes | str, *, file: str) -> KeyRing:
        """Raises DataError with every mistake and its line."""
        text = parse_toml(content, file=file)
        entries = as_model(text, dict[str, KeyEntry])
        if not entries:
            fix = 'Add [NAME] with sha256 = "..." and scopes = ["rank", "feedback"], or configure no keys.'
            raise DataError([Finding("fields", text.where(), "the file holds no key.", fix)])
        return cls(entries)

    def caller(self, key: str) -> Caller | None:
        """The holder of a key, None = nobody; every key is compared in constant time, whichever fits."""
        digest, holder = hashlib.sha256(key.encode()).digest(), None
        for expected, caller in self._callers:
            if hmac.compare_digest(digest, expected):
                holder = caller
        return holder

    def holder(self, mark: str) -> Caller | None:
        """Who holds the key of a `key_mark`, None = nobody, or nobody any more."""
        fits = (caller for digest, caller in self._callers if hmac.compare_digest(_mark(digest), mark))
        return next(fits, None)
