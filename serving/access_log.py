"""Access log: one JSON line an HTTP answer, with the ids by which a caller finds it again.

Ids come back in the answer's headers: `X-Request-Id` is the caller's, else the id of the slate, else a new one;
`traceparent` (W3C Trace Context, level 1) keeps the caller's trace, or begins one, with a span of this answer's own,
and `tracestate` is passed back.
"""

from __future__ import annotations

import logging
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import orjson

logger = logging.getLogger(__name__)
PLAIN = re.compile(r"[\x21-\x7e]{1,128}")  # an id that a header can carry
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
LONGEST_STATE = 512  # characters of tracestate


@dataclass(frozen=True)
class AnswerIds:
    """The ids of one answer."""

    request_id: str
    trace_id: str
    span_id: str
    flags: str
    state: str | None

    @classmethod
    def of(cls, headers: Mapping[str, str], *, slate: str | None) -> AnswerIds:
        """From the request's headers, whose names are in small letters.

        `slate` is the request id of the slate that answers, None = there is none.
        """
        sent = headers.get("x-request-id", "")
        request_id = sent if PLAIN.fullmatch(sent) else quote(slate or uuid.uuid4().hex, safe="")
        trace = TRACEPARENT.fullmatch(headers.get("traceparent", ""))
        if trace is None:
            return cls(request_id, secrets.token_hex(16), secrets.token_hex(8), "00", None)
        state = headers.get("tracestate", "")
        kept = state if 0 < len(state) <= LONGEST_STATE and state.isascii() and state.isprintable() else None
        return cls(request_id, trace[1], secrets.token_hex(8), trace[2], kept)

    @property
    def headers(self) -> dict[str, str]:
        named = {
            "X-Request-Id": self.request_id,
            "traceparent": f"00-{self.trace_id}-{self.span_id}-{self.flags}",
        }
        return named if self.state is None else {**named, "tracestate": self.state}


def record(ids: AnswerIds, *, method: str, path: str, status: int, seconds: float, caller: str) -> None:
    """Write the line; `caller` is the name of the API key."""
    if logger.isEnabledFor(logging.INFO):
        line = {
            "method": method,
            "path": path,
            "status": status,
            "milliseconds": round(1000 * seconds, 2),
            "request_id": ids.request_id,
            "trace_id": ids.trace_id,
            "span_id": ids.span_id,
            "key": caller,
        }
        logger.info("%s", orjson.dumps(line).decode())
