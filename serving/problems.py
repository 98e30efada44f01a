"""Problem details (RFC 9457): the body of every refusal, `application/problem+json`.

`type` is about:blank, so that `title` is the status's own phrase; `detail` says what was received and what to do;
`problems`, an extension, names each field of a request that is malformed.
"""

from __future__ import annotations

from http.client import responses

import orjson

CONTENT_TYPE = "application/problem+json"
GONE = 499  # the caller has gone: counted and logged, never sent
RETRY_AFTER = "1"  # seconds, with every 503


def problem(status: int, detail: str, *problems: tuple[str, str]) -> bytes:
    """The body; `problems` are (field, message), the field as a dotted path."""
    return orjson.dumps(
        {
            "type": "about:blank",
            "title": responses.get(status, "Refused"),
            "status": status,
            "detail": detail,
            "problems": [{"field": field, "message": message} for field, message in problems],
        }
    )
