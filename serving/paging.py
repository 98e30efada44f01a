"""Pages: a request with a cursor shows nothing that the slates it continues showed, however the market moved since.

A cursor names the slate that it came with; the log knows what that slate showed, to whom and on which page, and which
slate it continued itself.
"""

from __future__ import annotations

from dataclasses import replace

from marketplace.log import Log, UnknownRequest
from marketplace.schema import CURSOR_KEY
from marketplace.slate import Slate
from serving.request import BadRequest, Request, UnknownName

MOST_PAGES = 50  # slates that one list can have


def continued(request: Request, log: Log) -> Request:
    """The request with every item of the slates before it excluded, its places below theirs.

    Raises UnknownName where the log holds no such slate of this shopper, BadRequest for one of another page and after
    MOST_PAGES.
    """
    shown: list[str] = []
    cursor = request.cursor
    for _ in range(MOST_PAGES):
        if cursor is None:
            return replace(request, exclude=(*request.exclude, *shown), places_above=len(shown))
        slate = _slate(cursor, request, log)
        shown += slate.item_id[slate.position > 0].tolist()
        cursor = slate.context.get(CURSOR_KEY)
    raise BadRequest("cursor", f"continues {MOST_PAGES} slates already, and that is the limit")


def _slate(cursor: str, request: Request, log: Log) -> Slate:
    try:
        slate = log.slate(cursor)
    except UnknownRequest:
        slate = None
    if slate is None or slate.user_id != request.user_id:
        raise UnknownName(f"cursor {cursor!r} is not of an answer to this shopper")
    for name in ("surface", "query", "page_merchant_id", "page_item_id"):
        if getattr(slate, name) != getattr(request, name):
            of = f"{getattr(slate, name)!r}, {getattr(request, name)!r} was received"
            raise BadRequest("cursor", f"is of a list with {name} {of}; begin a new list without it")
    return slate
