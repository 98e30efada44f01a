"""Admission: what of a request can be answered: the caller's candidates that may be shown, and nothing shown before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from marketplace.log import Log
from marketplace.schema import microseconds_of
from marketplace.slate import Slate
from serving.availability import Availability
from serving.item_table import ItemTable
from serving.paging import continued
from serving.request import Request, UnknownName
from serving.service import Ranking
from serving.stages import Stages

NAMED = 10  # candidates in a refusal


@dataclass(frozen=True)
class Admission:
    """The `request` as it is answered, the caller's candidates that the catalogue lacks, and those that may not be
    shown, with the reason."""

    request: Request
    unknown: tuple[str, ...]
    unavailable: Mapping[str, str]

    def ranking(
        self,
        slate: Slate,
        stages: Stages,
        *,
        without_unit: tuple[str, ...],
        left_out: int = 0,
        rows: np.ndarray | None = None,
    ) -> Ranking:
        """The answer to it."""
        more = further(self.request, slate)
        return Ranking(slate, stages.seconds, self.unknown, left_out, more, self.unavailable, without_unit, rows)


def admitted(request: Request, item_table: ItemTable, available: Availability, log: Log) -> Admission:
    """Raises UnknownName where none of the candidates may be shown, and what `paging.continued` raises."""
    unknown = tuple(name for name in request.candidates or () if name not in item_table.row)
    unavailable = _unavailable(request, item_table, available)
    if unknown or unavailable:
        request = _only_available(request, unavailable, item_table)
    if request.cursor is not None or request.beside:
        request = continued(request, log)
    return Admission(request, unknown, unavailable)


def further(request: Request, slate: Slate) -> bool:
    """Whether another page may follow: every place is filled."""
    return request.candidates is None and np.count_nonzero(slate.position) == request.k


def prices(request: Request, catalogue: np.ndarray) -> np.ndarray:
    """float64 [n]: the caller's of each candidate, or the `catalogue`'s."""
    if request.price is None:
        return catalogue
    return np.where(np.isnan(request.price), catalogue, request.price)


def _unavailable(request: Request, item_table: ItemTable, available: Availability) -> dict[str, str]:
    if request.candidates is None:
        return {}
    time, rows = microseconds_of(request.time), item_table.rows(request.candidates)
    hindered = rows[~available.of(rows, time)].tolist()
    return {item_table.item_id[row]: available.reason(row, time) for row in hindered}


def _only_available(request: Request, unavailable: Mapping[str, str], item_table: ItemTable) -> Request:
    names = request.candidates or ()
    kept = np.flatnonzero([name in item_table.row and name not in unavailable for name in names])
    if unavailable and not len(kept):
        reasons = ", ".join(f"{name} is {reason}" for name, reason in list(unavailable.items())[:NAMED])
        raise UnknownName(f"none of the candidates may be shown: {reasons}")
    return request.only(kept)
