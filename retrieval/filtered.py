"""Search among the allowed rows only, with an index that knows nothing of filters.

A small allowed set is scored in full. A large one is answered from a longer list of the index with the rest struck
out; where too few are left, it is scored in full after all, so that k rows are returned whenever k are allowed.
"""

from __future__ import annotations

import math

import numpy as np

from retrieval.config import DEFAULTS, RetrievalConfig
from retrieval.exact import top_rows
from retrieval.index import CandidateIndex

LARGE = 50_000  # allowed rows above which one product of the whole matrix is quicker than a copy of them,
DENSE = 0.2  # or the share of all rows that they are
SPARE = 64  # rows beyond k that are scored once more


def filtered_search(
    index: CandidateIndex,
    embeddings: np.ndarray,
    query: np.ndarray,
    *,
    k: int,
    allowed: np.ndarray | None,
    exclude: np.ndarray,
    config: RetrievalConfig = DEFAULTS,
) -> tuple[np.ndarray, np.ndarray]:
    """At most k rows of `embeddings` [n, d] by inner product with `query` [d]: (rows int32, products float32).

    `allowed` is a bool mask [n] (None = all), `exclude` holds distinct rows that must not be returned.
    """
    count = len(embeddings) if allowed is None else int(np.count_nonzero(allowed))
    if allowed is not None and count <= config.exact_filter_below:
        return _scored(embeddings, query, k=k, allowed=allowed, exclude=exclude)
    most = k if allowed is None else math.ceil(k * config.overfetch * len(embeddings) / count)
    rows, products = (column[0] for column in index.search(query[None], k=most + len(exclude)))
    keep = rows >= 0
    if allowed is not None:
        keep &= allowed[rows]
    if len(exclude):
        keep &= ~np.isin(rows, exclude, kind="table")
    first = np.flatnonzero(keep)[:k]
    left = count - (len(exclude) if allowed is None else np.count_nonzero(allowed[exclude]))
    if len(first) < min(k, left):
        return _scored(embeddings, query, k=k, allowed=allowed, exclude=exclude)
    return rows[first], products[first]


def _scored(
    embeddings: np.ndarray, query: np.ndarray, *, k: int, allowed: np.ndarray | None, exclude: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    mask = np.ones(len(embeddings), bool) if allowed is None else allowed.copy()
    mask[exclude] = False
    rows = np.flatnonzero(mask).astype(np.int32)
    if len(rows) > min(LARGE, DENSE * len(embeddings)):
        rows = rows[_leading((embeddings @ query)[rows], k=k)]
    products = np.vecdot(embeddings[rows], query)
    best = top_rows(products[None], k=k)[0]
    return rows[best], products[best]


def _leading(products: np.ndarray, *, k: int) -> np.ndarray:
    """int64: positions of the k greatest and somewhat more, so that rounding loses none; ties with the last as well."""
    least = min(k + SPARE, len(products))
    return np.flatnonzero(products >= np.partition(products, -least)[-least])
