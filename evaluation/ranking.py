"""Ranking metrics per request: (N)DCG@k, MAP@k, MRR, recall@k, value@k and the area under each request's ROC curve.

Conventions: R requests own N rows, request r the rows offsets[r]:offsets[r+1]; `scores`, `labels` [N] in row order,
never pre-sorted; `where` [N] False = the item is absent. Labels are >= 0: 0 = irrelevant, 1 or a graded gain (order
value, in currency) = relevant. Every function returns float64 [R], so that a bootstrap over requests costs one product,
and NaN where a request has no positive label: means are **over requests with a positive**; `value_at`
and `dcg` count every request that has a row.

Ties: the expected value under a random order of equal scores (McSherry & Najork 2008, "Computing information
retrieval performance measures efficiently in the presence of tied scores"), so neither the input's order nor the shown
position can flatter a score. k None = the whole list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln


@dataclass(frozen=True)
class RankedLists:
    """The M present rows by request, then by falling score; arrays [M] in that order unless said otherwise.

    `before` counts the request's rows of strictly higher score, `tied` the rows of equal score, itself included.
    """

    order: np.ndarray
    request: np.ndarray
    before: np.ndarray
    tied: np.ndarray
    starts: np.ndarray  # [R + 1]: request r owns starts[r]:starts[r+1]

    @property
    def requests(self) -> int:
        return len(self.starts) - 1

    @property
    def longest(self) -> int:
        return int(np.diff(self.starts).max(initial=0))

    def sum(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """[R]: `values` of the sorted positions `rows`, summed by request."""
        return np.bincount(self.request[rows], values, minlength=self.requests)


def rank(scores: np.ndarray, offsets: np.ndarray, *, where: np.ndarray | None = None) -> RankedLists:
    """Sort every request's rows by falling score; raises ValueError for NaN scores and offsets that do not fit."""
    scores, offsets = np.asarray(scores, np.float64), np.asarray(offsets, np.int64)
    _check(scores, offsets)
    rows = np.arange(len(scores)) if where is None else np.flatnonzero(where)
    scores = scores[rows]
    if np.isnan(scores).any():
        raise ValueError(f"scores: row {rows[np.isnan(scores).argmax()]} is NaN; mask absent items with where=False.")
    starts = np.searchsorted(rows, offsets)
    request = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    order = _sort_within(-scores, request)
    before, tied = _ties(scores[order], request, starts)
    return RankedLists(rows[order], request, before, tied, starts)


def _check(scores: np.ndarray, offsets: np.ndarray) -> None:
    fits = len(offsets) and offsets[0] == 0 and offsets[-1] == len(scores) and (np.diff(offsets) >= 0).all()
    if not fits:
        raise ValueError(f"offsets must rise from 0 to the {len(scores)} rows; got {offsets[:3]} .. {offsets[-1:]}")


def _sort_within(keys: np.ndarray, request: np.ndarray) -> np.ndarray:
    # One integer key per row keeps both sorts on NumPy's vectorised path; lexsort takes three times as long.
    place = np.empty(len(keys), np.int64)
    place[np.argsort(keys)] = np.arange(len(keys))
    return np.argsort(request * len(keys) + place)


def _ties(scores: np.ndarray, request: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(before, tied) of rows sorted by request and falling score."""
    new = np.ones(len(scores), bool)
    new[1:] = (scores[1:] != scores[:-1]) | (request[1:] != request[:-1])
    first = np.flatnonzero(new)
    size = np.diff(np.append(first, len(scores)))
    return np.repeat(first, size) - starts[request], np.repeat(size, size)


def ndcg(ranked: RankedLists, labels: np.ndarray, *, k: int | None = 10) -> np.ndarray:
    """DCG@k / ideal DCG@k (Järvelin & Kekäläinen 2002)."""
    return _over(_top(ranked, labels, _discount(ranked, k)), _ideal(ranked, labels, _discount(ranked, k)))


def dcg(ranked: RankedLists, labels: np.ndarray, *, k: int | None = 10) -> np.ndarray:
    """DCG@k = sum label / log2(1 + rank), in the label's unit: linear gains; NaN without any row."""
    return np.where(np.diff(ranked.starts) > 0, _top(ranked, labels, _discount(ranked, k)), np.nan)


def recall(ranked: RankedLists, labels: np.ndarray, *, k: int) -> np.ndarray:
    """Share of the request's total label that stands in the first k."""
    counted = _cumulative(np.ones(k))
    return _over(_top(ranked, labels, counted), _top(ranked, labels, _cumulative(np.ones(max(k, ranked.longest)))))


def value_at(ranked: RankedLists, labels: np.ndarray, *, k: int) -> np.ndarray:
    """Total label in the first k, in the label's unit: GMV@k of order values; NaN without any row."""
    total = _top(ranked, labels, _cumulative(np.ones(k)))
    return np.where(np.diff(ranked.starts) > 0, total, np.nan)


def average_precision(ranked: RankedLists, labels: np.ndarray, *, k: int | None = 10) -> np.ndarray:
    """AP@k = sum over relevant rows i in the first k of label_i * precision(rank_i) / total label of the best k rows.

    Binary labels give the usual AP with normaliser min(k, positives), so that a perfect list scores 1; order values
    give AP on value. E over ties, for a group of n rows, r relevant, s rows and b relevant rows before it:
    label/n * sum_{j=1..n, s+j<=k} (b + 1 + (j-1)(r-1)/(n-1)) / (s+j).
    """
    depth = k or ranked.longest
    rows = _relevant(ranked, labels, depth)
    above, among = _relevant_counts(ranked, labels, rows)
    before, tied = ranked.before[rows], ranked.tied[rows]
    inside = np.minimum(tied, depth - before)
    harmonic = _cumulative(1 / np.arange(1.0, max(depth, ranked.longest) + 1))
    reciprocal = harmonic[before + inside] - harmonic[before]
    other = (among - 1) / np.maximum(tied - 1, 1)
    precision = ((above + 1) * reciprocal + other * (inside - (before + 1) * reciprocal)) / tied
    reached = ranked.sum(labels[ranked.order[rows]] * precision, rows)
    return _over(reached, _ideal(ranked, labels, _cumulative(np.ones(depth))))


def reciprocal_rank(ranked: RankedLists, labels: np.ndarray, *, k: int | None = None) -> np.ndarray:
    """1 / rank of the first relevant row, 0 where that lies beyond k."""
    depth = k or ranked.longest
    rows = _relevant(ranked, labels, ranked.longest)
    above, among = _relevant_counts(ranked, labels, rows)
    first = above == 0
    _, one = np.unique(ranked.request[rows[first]], return_index=True)
    rows, among = rows[first][one], among[first][one]
    result = np.full(ranked.requests, np.nan)
    result[ranked.request[rows]] = _first_of(ranked.before[rows], ranked.tied[rows], among, depth)
    return result


def _first_of(before: np.ndarray, tied: np.ndarray, relevant: np.ndarray, depth: int) -> np.ndarray:
    """E[1 / rank of the first relevant] in a shuffled tie group: P(first at j) = C(n-j, r-1) / C(n, r)."""
    group = np.repeat(np.arange(len(before)), tied)
    j = np.arange(len(group)) - np.repeat(np.cumsum(tied) - tied, tied) + 1
    n, r, place = tied[group], relevant[group], before[group] + j
    possible = (n - j >= r - 1) & (place <= depth)
    group, j, n, r, place = group[possible], j[possible], n[possible], r[possible], place[possible]
    chance = np.exp(_log_choose(n - j, r - 1) - _log_choose(n, r))
    return np.bincount(group, chance / place, minlength=len(before))


def _log_choose(n: np.ndarray, r: np.ndarray) -> np.ndarray:
    return gammaln(n + 1.0) - gammaln(r + 1.0) - gammaln(n - r + 1.0)


def request_auc(ranked: RankedLists, labels: np.ndarray) -> np.ndarray:
    """P(a positive row scores above a negative one of its request), ties 1/2; NaN without both kinds."""
    rows = _relevant(ranked, labels, ranked.longest)
    above, among = _relevant_counts(ranked, labels, rows)
    lengths = np.diff(ranked.starts)
    positives = np.bincount(ranked.request[rows], minlength=ranked.requests)
    negatives = lengths - positives
    before, tied = ranked.before[rows], ranked.tied[rows]
    below = negatives[ranked.request[rows]] - (before - above) - (tied - among) / 2
    return _over(ranked.sum(below, rows), positives * negatives)


def _relevant(ranked: RankedLists, labels: np.ndarray, depth: int) -> np.ndarray:
    """Sorted positions of rows with a positive label that may stand in the first `depth`."""
    return np.flatnonzero((labels[ranked.order] > 0) & (ranked.before < depth))


def _relevant_counts(ranked: RankedLists, labels: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many relevant rows stand (above, among) the ties of each of `rows`."""
    seen = np.concatenate(([0], np.cumsum(labels[ranked.order] > 0)))
    start = ranked.starts[ranked.request[rows]]
    first = start + ranked.before[rows]
    return seen[first] - seen[start], seen[first + ranked.tied[rows]] - seen[first]


def discounts(depth: int) -> np.ndarray:
    """DCG's weight of each place, [depth]: 1 / log2(1 + place)."""
    return 1 / np.log2(np.arange(depth) + 2.0)


def _discount(ranked: RankedLists, k: int | None) -> np.ndarray:
    return _cumulative(discounts(k or ranked.longest))


def _cumulative(weight: np.ndarray) -> np.ndarray:
    return np.concatenate(([0.0], np.cumsum(weight)))


def _top(ranked: RankedLists, labels: np.ndarray, cumulative: np.ndarray) -> np.ndarray:
    """[R]: sum of label * mean position weight over the row's ties; `cumulative` [depth + 1] of the weights."""
    depth = len(cumulative) - 1
    rows = _relevant(ranked, labels, depth)
    before, tied = ranked.before[rows], ranked.tied[rows]
    weight = (cumulative[np.minimum(before + tied, depth)] - cumulative[before]) / tied
    return ranked.sum(labels[ranked.order[rows]] * weight, rows)


def _ideal(ranked: RankedLists, labels: np.ndarray, cumulative: np.ndarray) -> np.ndarray:
    """`_top` of the best possible order."""
    depth = len(cumulative) - 1
    rows = _relevant(ranked, labels, ranked.longest)
    gains, request = labels[ranked.order[rows]].astype(np.float64), ranked.request[rows]
    gains = gains[_sort_within(-gains, request)]
    place = np.arange(len(rows)) - np.searchsorted(request, request)
    inside = place < depth
    weight = np.diff(cumulative)[place[inside]]
    return np.bincount(request[inside], gains[inside] * weight, minlength=ranked.requests)


def _over(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The ratio, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=np.asarray(denominator) > 0)
