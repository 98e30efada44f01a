"""Ranking metrics against libraries, against shuffling, and against arithmetic."""

from itertools import pairwise, permutations

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, R, nDCG
from sklearn.metrics import ndcg_score, roc_auc_score

from evaluation import ranking


def market(rng, *, requests=60, levels=None, graded=False):
    offsets = np.concatenate(([0], np.cumsum(rng.integers(0, 12, requests))))
    scores = rng.random(offsets[-1]) if levels is None else rng.integers(0, levels, offsets[-1]).astype(float)
    labels = (rng.random(offsets[-1]) < 0.3).astype(float)
    return scores, labels * (rng.gamma(2, 50, offsets[-1]) if graded else 1), offsets


def lists(offsets):
    return [(r, slice(a, b)) for r, (a, b) in enumerate(pairwise(offsets))]


def expectation(metric, scores, labels):
    """The mean of `metric(labels in list order)` over every order of the ties: slow and obvious."""
    orders = [p for p in permutations(range(len(scores))) if all(np.diff(scores[list(p)]) <= 0)]
    return np.mean([metric(labels[list(p)]) for p in orders])


def ap(k):
    def metric(labels):
        hits = labels > 0
        precision = np.cumsum(hits) / np.arange(1, len(labels) + 1)
        return (labels * precision)[:k].sum() / np.sort(labels)[::-1][:k].sum()

    return metric


def rr(k):
    return lambda labels: 1 / (1 + np.argmax(labels > 0)) if (labels[:k] > 0).any() else 0.0


def dcg(k):
    return lambda labels: (labels[:k] / np.log2(np.arange(len(labels[:k])) + 2)).sum()


def test_ndcg_by_arithmetic():
    ranked = ranking.rank(np.array([0.2, 0.9, 0.5]), np.array([0, 3]))
    expected = (2 / np.log2(1 + 2) + 1 / np.log2(1 + 3)) / (2 / np.log2(1 + 1) + 1 / np.log2(1 + 2))
    assert ranking.ndcg(ranked, np.array([1, 0, 2])) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("levels", [None, 3])
def test_ndcg_equals_scikit_learn(k, levels):
    scores, labels, offsets = market(np.random.default_rng(k), levels=levels, graded=True)
    ours = ranking.ndcg(ranking.rank(scores, offsets), labels, k=k)
    for r, rows in lists(offsets):
        if labels[rows].sum() == 0:
            assert np.isnan(ours[r])
        elif len(labels[rows]) > 1:
            assert ours[r] == pytest.approx(ndcg_score([labels[rows]], [scores[rows]], k=k), abs=1e-12)


def test_without_ties_equals_ir_measures():
    scores, labels, offsets = market(np.random.default_rng(1))
    qrels = {str(r): {str(i): int(v) for i, v in enumerate(labels[rows])} for r, rows in lists(offsets)}
    run = {str(r): {str(i): float(v) for i, v in enumerate(scores[rows])} for r, rows in lists(offsets)}
    ranked = ranking.rank(scores, offsets)
    ours = {
        AP: ranking.average_precision(ranked, labels, k=None),
        RR: ranking.reciprocal_rank(ranked, labels),
        R @ 3: ranking.recall(ranked, labels, k=3),
        nDCG @ 5: ranking.ndcg(ranked, labels, k=5),
    }
    compared = 0
    for row in ir_measures.iter_calc(list(ours), qrels, run):
        if labels[offsets[int(row.query_id)] : offsets[int(row.query_id) + 1]].sum():
            assert ours[row.measure][int(row.query_id)] == pytest.approx(row.value, abs=1e-6)
            compared += 1
    assert compared > 100


@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_ties_give_the_mean_over_their_orders(k):
    rng = np.random.default_rng(k)
    for _ in range(25):
        n = rng.integers(1, 7)
        scores = rng.integers(0, 3, n).astype(float)
        labels = rng.integers(0, 3, n) * (rng.random(n) < 0.6)
        ranked = ranking.rank(scores, np.array([0, n]))
        if labels.sum() == 0:
            continue
        best = dcg(k)(np.sort(labels)[::-1])
        expected = {
            "ap": (ranking.average_precision(ranked, labels, k=k), ap(k)),
            "rr": (ranking.reciprocal_rank(ranked, labels, k=k), rr(k)),
            "ndcg": (ranking.ndcg(ranked, labels, k=k), lambda v, best=best: dcg(k)(v) / best),
            "dcg": (ranking.dcg(ranked, labels, k=k), dcg(k)),
            "recall": (ranking.recall(ranked, labels, k=k), lambda v: v[:k].sum() / v.sum()),
            "value": (ranking.value_at(ranked, labels, k=k), lambda v: v[:k].sum()),
        }
        for name, (ours, metric) in expected.items():
            assert ours[0] == pytest.approx(expectation(metric, scores, labels), abs=1e-12), name


def test_request_auc_equals_scikit_learn():
    scores, labels, offsets = market(np.random.default_rng(5), levels=4)
    ours = ranking.request_auc(ranking.rank(scores, offsets), labels)
    for r, rows in lists(offsets):
        if 0 < labels[rows].sum() < len(labels[rows]):
            assert ours[r] == pytest.approx(roc_auc_score(labels[rows], scores[rows]), abs=1e-12)
        else:
            assert np.isnan(ours[r])


def test_a_perfect_list_scores_one_and_order_of_rows_never_matters():
    rng = np.random.default_rng(2)
    scores, labels, offsets = market(rng, levels=3, graded=True)
    perfect = ranking.rank(labels, offsets)
    shuffle = np.concatenate([rng.permutation(np.arange(rows.start, rows.stop)) for _, rows in lists(offsets)])
    for metric in (ranking.ndcg, ranking.average_precision, ranking.reciprocal_rank):
        assert np.nanmin(metric(perfect, labels)) == pytest.approx(1)
        straight = metric(ranking.rank(scores, offsets), labels)
        shuffled = metric(ranking.rank(scores[shuffle], offsets), labels[shuffle])
        np.testing.assert_allclose(straight, shuffled, atol=1e-12)


def test_a_constant_score_earns_what_chance_earns():
    rng = np.random.default_rng(3)
    _, labels, offsets = market(rng)
    constant = ranking.ndcg(ranking.rank(np.zeros(len(labels)), offsets), labels)
    chance = np.mean([ranking.ndcg(ranking.rank(rng.random(len(labels)), offsets), labels) for _ in range(400)], axis=0)
    assert np.nanmean(constant) == pytest.approx(np.nanmean(chance), abs=0.01)


def test_absent_items_are_as_if_never_there():
    rng = np.random.default_rng(4)
    scores, labels, offsets = market(rng)
    where = rng.random(len(scores)) < 0.7
    scores[~where] = np.nan
    kept = np.concatenate(([0], np.cumsum([where[rows].sum() for _, rows in lists(offsets)])))
    masked = ranking.rank(scores, offsets, where=where)
    removed = ranking.rank(scores[where], kept)
    np.testing.assert_array_equal(ranking.ndcg(masked, labels), ranking.ndcg(removed, labels[where]))
    np.testing.assert_array_equal(ranking.request_auc(masked, labels), ranking.request_auc(removed, labels[where]))


def test_bad_input_is_refused_with_the_row():
    with pytest.raises(ValueError, match="row 1 is NaN"):
        ranking.rank(np.array([1.0, np.nan]), np.array([0, 2]))
    with pytest.raises(ValueError, match="offsets must rise from 0 to the 2 rows"):
        ranking.rank(np.array([1.0, 2.0]), np.array([0, 3]))


def test_requests_without_rows_do_not_dilute_the_mean():
    labels, offsets = np.array([5.0, 0.0, 7.0]), np.array([0, 2, 3])
    ranked = ranking.rank(labels, offsets, where=np.array([True, True, False]))
    for total in (ranking.value_at, ranking.dcg):
        np.testing.assert_array_equal(total(ranked, labels, k=10), [5.0, np.nan])


def test_a_request_where_nothing_happened_counts_in_totals_alone():
    labels, offsets = np.array([0.0, 0.0, 7.0]), np.array([0, 2, 3])
    ranked = ranking.rank(labels, offsets)
    np.testing.assert_array_equal(ranking.dcg(ranked, labels), [0.0, 7.0])
    np.testing.assert_array_equal(ranking.ndcg(ranked, labels), [np.nan, 1.0])
