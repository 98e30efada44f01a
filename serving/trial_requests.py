"""Trial requests: a bundle answers one on every surface before it takes over, and its numbers are looked at."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from marketplace.schema import microseconds_of
from serving.engine import RankingEngine
from serving.manifest import BundleError
from serving.parts import Parts
from serving.request import Request
from serving.stages import Stages

NOBODY = "nobody of the trial requests"  # a shopper of whom nothing is known
PLACES = 10


def try_out(engine: RankingEngine, *, users: Sequence[str] = (), parts: Parts | None = None) -> None:
    """Raise BundleError unless every trial request is answered with finite numbers alone, and values differ somewhere.

    `users` are shoppers of the bundle's catalogue; `parts` answer in the stead of the engine's. Nothing is logged.
    Items none of which may be shown cannot be tried.
    """
    table = engine.parts.item_table
    available = engine.live.parts.availability.of(np.arange(len(table)), microseconds_of(engine.parts.known_until))
    if not available.any():
        return
    varied = False
    for request in _requests(engine, int(np.argmax(available)), [NOBODY, *users]):
        what = f"bundle {engine.parts.bundle}: the trial request {request.request_id!r}"
        try:
            ranking = engine.answer(request, Stages(time.perf_counter), parts=parts)
        except Exception as error:  # whatever is wrong must not reach a shopper
            raise BundleError(f"{what} fails with {type(error).__name__}: {error}") from error
        if ranking.left_out:
            raise BundleError(
                f"{what}: {ranking.left_out} of {ranking.slate.considered} candidates have heads or values that are "
                "not finite. Check the ranker and the value policy (`value-model check-policy`), and export again."
            )
        varied |= len(ranking.slate) > 1 and float(np.ptp(ranking.slate.value)) > 0
    if not varied and available.sum() > 1:
        raise BundleError(
            f"bundle {engine.parts.bundle}: every candidate of every trial request has the same value, so that nothing "
            "is ranked. Check the ranker and the value policy, and export again."
        )


def _requests(engine: RankingEngine, row: int, users: Sequence[str]) -> Iterator[Request]:
    """Every surface, about one item that can be ordered."""
    table, name = engine.parts.item_table, engine.store.catalogue.names[row].as_py()
    pages = {
        "home": {},
        "search": {"query": name or str(table.item_id[row])},
        "store_page": {"page_merchant_id": str(table.merchant_id[row])},
        "product_page": {"page_item_id": str(table.item_id[row])},
    }
    for user in users:
        for surface, page in pages.items():
            yield Request(
                request_id=f"{surface} of {user}",
                time=engine.parts.known_until,
                surface=surface,
                user_id=user,
                k=PLACES,
                **page,  # type: ignore[arg-type]
            )
