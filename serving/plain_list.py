"""Plain list: what may be shown of a request whose candidates cannot be valued, in an order that is known beforehand.

    popularity     by the share of all touches; of a search first by its words
    static list    the catalogue's order; the caller's candidates as they were sent

No features are looked up, nothing is predicted and no policy chose: the slate bears the rung in the place of their
versions, so that nobody takes it for their choice, and training computes its features as of its time. Its value is the
share; the order is fixed, so the propensity is 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from marketplace.schema import (
    COLUMN_PARTS,
    CONSIDERED_KEY,
    PLACES_KEY,
    SCORER_KEY,
    SEED_KEY,
    SEGMENT_KEY,
    SURFACES_KEY,
)
from marketplace.slate import Slate
from serving.admission import prices
from serving.parts import Parts
from serving.request import Request
from serving.rungs import POPULARITY
from serving.slate_builder import page_entries, request_columns

AT_ONCE = 4096  # rows looked at
ABSENT = ("feature_spec", "ranker", "calibrator", "policy")  # parts that had no part in a plain list


class NoPopularity(LookupError):
    """The bundle's sources do not know what is popular."""


def plain_slate(request: Request, parts: Parts, *, rung: str, reason: str, exposure: Mapping[str, str]) -> Slate:
    """The list of a rung as the slate that is answered and logged.

    Raises NoPopularity, and UnknownName as `CandidateGenerator.generate` does.
    """
    share = parts.candidate_generator.popularity if rung == POPULARITY else None
    if rung == POPULARITY and share is None:
        raise NoPopularity("the bundle has no source that knows what is popular")
    if request.candidates is not None:
        rows = parts.candidate_generator.of_caller(request.candidates).items
        place = np.argsort(-_of(share, rows), kind="stable")[: request.k]
        request, rows = request.only(place), rows[place]
    else:
        rows = _proposed(request, parts, share)
    table, n = parts.item_table, len(rows)
    versions = {**parts.versions, **dict.fromkeys(ABSENT, rung)}
    reserved = {SEED_KEY: request.draw_seed, PLACES_KEY: request.k, CONSIDERED_KEY: n, SEGMENT_KEY: ""}
    reserved |= {SURFACES_KEY: versions["surfaces"], SCORER_KEY: f"{rung}, {reason}"} | page_entries(request)
    return Slate(
        **request_columns(request, reserved),
        currency=parts.currency,
        item_id=table.item_id[rows],
        merchant_id=table.merchant_id[rows],
        price=prices(request, table.price[rows]),
        source=np.full(n, rung, object),
        retrieval_score=np.zeros(n, np.float32),
        merchant_value=np.zeros(n),
        value=_of(share, rows),
        position=np.arange(request.places_above + 1, request.places_above + n + 1, dtype=np.int32),
        propensity=np.ones(n),
        **{f"{part}_version": versions[part] for part in COLUMN_PARTS},  # type: ignore[arg-type]
        **exposure,  # type: ignore[arg-type]
    )


def _proposed(request: Request, parts: Parts, share: np.ndarray | None) -> np.ndarray:
    """int32: at most `request.k` catalogue rows."""
    generator, ranked = parts.candidate_generator, np.arange(len(parts.item_table), dtype=np.int32)
    if share is not None:
        ranked = generator.by_popularity
        if request.query is not None and parts.lexical_index is not None:
            match = parts.lexical_index.match(request.query)
            ranked = match.rows[match.order] if len(match.rows) else ranked
    allowed, excluded = generator.eligible(request)
    return first_eligible(ranked, allowed, excluded, k=request.k)


def first_eligible(ranked: np.ndarray, allowed: np.ndarray, excluded: np.ndarray, *, k: int) -> np.ndarray:
    """The first k of the rows that are allowed (bool [n_items]) and not excluded."""
    kept = [np.empty(0, np.int32)]
    for start in range(0, len(ranked), AT_ONCE):
        some = ranked[start : start + AT_ONCE]
        kept.append(some[allowed[some] & ~np.isin(some, excluded)])
        if sum(map(len, kept)) >= k:
            break
    return np.concatenate(kept)[:k].astype(np.int32)


def _of(share: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """float64 [n]: the share of rows; 0 for items that began since it was counted, and where it is not known."""
    values = np.zeros(len(rows))
    if share is not None:
        known = rows < len(share)
        values[known] = share[rows[known]]
    return values
