"""Pages: a request with a cursor shows nothing that the slates it continues showed, however the market moved since.

A cursor names the slate that it came with; the log knows what that slate showed, to whom and on which page, and which
slate it continued itself.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from marketplace.log import Log, UnknownRequest
from marketplace.schema import CURSOR_KEY
from marketplace.slate import Slate
from serving.request import BadRequest, Request, UnknownName

MOST_PAGES = 50  # slates that one list can have


def continued(request: Request, log: Log) -> Request:
    """The request with every item of the slates before it excluded, its places below theirs.

    So is every item of the lists beside it. Raises UnknownName where the log holds no such slate of this shopper,
    BadRequest for one of another page and after MOST_PAGES.
    """
    shown = [] if request.cursor is None else _shown(request.cursor, request, log, same_list=True)
    beside = [_shown(cursor, request, log, same_list=False) for cursor in request.beside if cursor != request.cursor]
    return replace(request, exclude=(*request.exclude, *shown, *chain(*beside)), places_above=len(shown))


def _shown(last: str, request: Request, log: Log, *, same_list: bool) -> list[str]:
    """The items of the slates of a list, from its `last` one back."""
    shown: list[str] = []
    cursor: str | None = last
    for _ in range(MOST_PAGES):
        if cursor is None:
            return shown
        slate = _slate(cursor, request, log)
        if same_list:
            _check_same_list(slate, request)
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
    return slate


def _check_same_list(slate: Slate, request: Request) -> None:
    for name in ("surface", "query", "page_merchant_id", "page_item_id"):
        if getattr(slate, name) != getattr(request, name):
            of = f"{getattr(slate, name)!r}, {getattr(request, name)!r} was received"
            raise BadRequest("cursor", f"is of a list with {name} {of}; begin a new list without it")
