"""Session of a person at the console: a signed cookie that says which API key signed in, and the token of its writes.

The cookie holds no key: a mark of it, by which the ring of keys knows its holder for as long as it holds the key. A
write must bring the session's CSRF token with it, which another site can neither read nor guess.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer

from serving.keys import EVERYBODY, Caller, Keys, key_mark
from serving.rate_limits import RateExceeded, RateLimit, RateLimits

logger = logging.getLogger(__name__)
PACE = RateLimit(5.0, burst=60)  # of keys without a limit: a slider is drawn anew some eight times a second
TRIES = RateLimit(1 / 30, burst=5)  # sign-ins that fail, of one client
CLIENTS = 10_000  # whose failures are remembered
COOKIE = "value_model_console"
LASTS = 12 * 3600  # seconds since it was begun
NOBODY = Caller("", frozenset())


@dataclass(frozen=True)
class ConsoleSettings:
    """`secret` signs sessions; `folder` holds the service's bundles, policies and experiments, None = none does.

    `desk` is the socket of the process beside it, None = there is none.
    """

    secret: str
    folder: Path | None = None
    desk: Path | None = None


@dataclass(frozen=True)
class Session:
    """`mark` of the key that signed in, "" = none did; `csrf` is what a write must bring."""

    csrf: str
    mark: str = ""

    def proves(self, token: str) -> bool:
        """Whether a write with this token was sent from a page of this session."""
        return hmac.compare_digest(self.csrf.encode(), token.encode())


def new_session(mark: str = "") -> Session:
    return Session(secrets.token_urlsafe(24), mark)


class Sessions:
    """Cookies under one `secret`, which all workers share; `keys` None = whoever reaches the service may do all.

    `limits` are those of the service's other routes: a key has one bucket, wherever it is used.
    """

    def __init__(self, secret: str, keys: Keys | None, limits: RateLimits) -> None:
        self._signer, self.keys, self._limits = URLSafeTimedSerializer(secret, salt=COOKIE), keys, limits
        self._failed = RateLimits(limits.clock, most=CLIENTS)

    def sign_in(self, key: str, *, address: str) -> tuple[Session, Caller] | None:
        """The session of a key and who holds it, None = nobody does.

        Raises RateExceeded, whatever the key, where too many of the same client failed lately.
        """
        client = client_of(address)
        if (seconds := self._failed.wait(client, TRIES, tokens=0)) > 0:
            rule = f"from {client} {TRIES.burst} sign-ins may fail at once, and one in {1 / TRIES.rate:.0f} s"
            raise RateExceeded(rule, seconds=seconds)
        session = new_session(key_mark(key))
        caller = self.caller(session)
        if caller.scopes:
            return session, caller
        self._failed.wait(client, TRIES)
        logger.warning("a sign-in to the console from %s failed: no such key", client)
        return None

    def spend(self, caller: Caller) -> None:
        """Raise RateExceeded unless the caller may ask now."""
        self._limits.spend(caller.name, caller.limit or PACE)

    def cookie(self, session: Session) -> str:
        return self._signer.dumps([session.csrf, session.mark])

    def read(self, cookie: str) -> Session | None:
        """None for one that is not ours, or too old."""
        try:
            content: Any = self._signer.loads(cookie, max_age=LASTS)
            csrf, mark = content
        except (BadData, TypeError, ValueError):
            return None
        return Session(str(csrf), str(mark))

    def caller(self, session: Session) -> Caller:
        """What the session's holder may do now."""
        if self.keys is None:
            return EVERYBODY
        return (self.keys.holder(session.mark) if session.mark else None) or NOBODY


def client_of(address: str) -> str:
    """An IPv4 address, or the first 64 bits of an IPv6 one, of which a client has all the rest; else as it is."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if isinstance(known, IPv6Address) and known.ipv4_mapped is None:
        return str(IPv6Network((int(known) >> 64 << 64, 64)))
    return str(getattr(known, "ipv4_mapped", None) or known)
