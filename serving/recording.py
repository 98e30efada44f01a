"""Recording: a slate goes on record once; a request that is repeated is answered as it was."""

from __future__ import annotations

from dataclasses import dataclass, replace

from marketplace.log import CatalogueMoved, DuplicateRequest, Log
from marketplace.schema import CURSOR_KEY, FILTERS_KEY
from marketplace.slate import Slate
from serving.feedback_checks import own_id
from serving.live_catalogue import LiveCatalogue
from serving.request import Request

ATTEMPTS = 10  # at a slate, while the catalogue moves under it


@dataclass(frozen=True, eq=False)
class RecordedSlate:
    """A slate on record; `repeated`: it was there before, and answers the request again."""

    slate: Slate
    repeated: bool = False


def recorded(slate: Slate, request: Request, log: Log, live: LiveCatalogue) -> RecordedSlate | None:
    """What answers the `request` of a slate; None where the catalogue moved, and it shows what may be shown no more.

    Where another shopper's slate has its request id it is logged under an id of its own. Raises DuplicateRequest where
    this shopper's slate of another request has the id.
    """
    for _ in range(ATTEMPTS):
        try:
            return _logged(slate, request, log, live.mark)
        except CatalogueMoved:
            live.follow()
            if not live.shows(slate, prices_sent=request.price is not None):
                return None
    return None


def _logged(slate: Slate, request: Request, log: Log, mark: int) -> RecordedSlate:
    for taken in (False, True):
        if taken:
            slate = replace(slate, request_id=own_id(slate.request_id, slate.user_id))
        try:
            log.append(slate, catalogue=mark)
            return RecordedSlate(slate)
        except DuplicateRequest:
            known = log.slate(slate.request_id)
        if known.user_id == slate.user_id:
            break
    if not answers(known, request, slate):
        raise DuplicateRequest(request.request_id)
    return RecordedSlate(known, repeated=True)


def answers(known: Slate, request: Request, slate: Slate) -> bool:
    """Whether a slate on record answers the same request, which `slate` would answer now."""
    same = all(
        getattr(known, name) == getattr(slate, name)
        for name in ("surface", "query", "page_merchant_id", "page_item_id", "session_id", "places")
    )
    same &= all(known.context.get(key) == slate.context.get(key) for key in (FILTERS_KEY, CURSOR_KEY))
    same &= request.seed is None or request.seed == known.seed
    return same and (request.candidates is None or set(known.item_id) <= set(request.candidates))
