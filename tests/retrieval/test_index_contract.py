"""What every CandidateIndex promises, held against each implementation."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import retrieval.exact
from retrieval.build import BUILDERS, RecallBelowGate, build_index, load_index, recall, save_index
from retrieval.config import DEFAULTS
from retrieval.exact import ExactIndex
from retrieval.filtered import filtered_search
from retrieval.moving_index import MovingIndex
from retrieval.stored_vectors import StoredVectors

# Small thresholds, so that a small catalogue reaches every branch: brute force, quantised, partitioned.
CONFIG = replace(DEFAULTS, brute_force_below=500, partition_from=2_000, exact_filter_below=100, leaves_share=0.6)
SIZES = (300, 1_000, 3_000)
DIMENSIONS = 16


def catalogue(rows: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, DIMENSIONS))
    return (centres[rng.integers(20, size=rows)] + 0.5 * rng.normal(size=(rows, DIMENSIONS))).astype(np.float32)


FORMS = {"faiss_form": "ivf_pq"}, {"faiss_form": "hnsw"}
SHAPES = [
    *((kind, rows, {}) for kind in BUILDERS for rows in SIZES),
    *(("faiss", 1_000, form) for form in FORMS),
]


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def built(request):
    kind, rows, settings = request.param
    return build_index(kind, catalogue(rows), queries=catalogue(64, seed=1), config=replace(CONFIG, **settings))


def test_returns_k_distinct_rows_best_first_with_their_inner_products(built):
    queries = catalogue(8, seed=2)
    rows, products = built.index.search(queries, k=50)
    assert rows.shape == products.shape == (8, 50)
    assert rows.dtype == np.int32
    assert products.dtype == np.float32
    assert all(len(set(row)) == 50 for row in rows)
    assert (np.diff(products, axis=1) <= 1e-5).all()
    truth = np.einsum("qkd,qd->qk", built.embeddings[rows], queries)
    np.testing.assert_allclose(products, truth, rtol=1e-4, atol=1e-4)


def test_one_query_gives_what_a_batch_gives(built):
    queries = catalogue(4, seed=3)
    batch, _ = built.index.search(queries, k=20)
    single = np.concatenate([built.index.search(query[None], k=20)[0] for query in queries])
    np.testing.assert_array_equal(batch, single)


def test_finds_what_an_obvious_search_finds(built):
    queries = catalogue(32, seed=4)
    oracle = np.argsort(-(queries @ built.embeddings.T), axis=1, kind="stable")[:, :100]
    answer, _ = built.index.search(queries, k=100)
    measured = np.mean([len(set(a) & set(b)) / 100 for a, b in zip(answer, oracle, strict=True)])
    assert measured >= CONFIG.gate
    assert recall(answer, oracle, embeddings=built.embeddings, queries=queries) == pytest.approx(measured)


def test_more_than_there_are_gives_all_of_them_at_most_once(built):
    rows, _ = built.index.search(catalogue(2, seed=5), k=10**6)
    assert rows.shape == (2, len(built.embeddings))
    filled = rows[0][rows[0] >= 0]
    assert len(set(filled)) == len(filled)


def test_a_saved_index_can_be_moved_and_answers_the_same(built, tmp_path):
    ids = [f"عنصر {row}\n" for row in range(len(built.embeddings))]
    save_index(built, tmp_path / "first", item_ids=ids)
    (tmp_path / "first").rename(tmp_path / "second")
    save_index(load_index(tmp_path / "second")[0], tmp_path / "third", item_ids=ids)  # as an export does
    loaded, loaded_ids = load_index(tmp_path / "third")
    assert loaded_ids == ids
    assert isinstance(loaded.embeddings.base, np.memmap)
    assert loaded.report == built.report
    queries = catalogue(8, seed=6)
    for before, after in zip(built.index.search(queries, k=30), loaded.index.search(queries, k=30), strict=True):
        np.testing.assert_array_equal(before, after)
    assert not list((tmp_path / "second").rglob("*.pkl"))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_filter_lets_nothing_else_through_and_fills_k_where_k_are_allowed(built, share):
    rng = np.random.default_rng(7)
    rows = len(built.embeddings)
    allowed = rng.random(rows) < share
    exclude = rng.choice(rows, 20, replace=False).astype(np.int32)
    possible = np.setdiff1d(np.flatnonzero(allowed), exclude)
    for query in catalogue(10, seed=8):
        answer, products = filtered_search(
            built.index, built.embeddings, query, k=40, allowed=allowed, exclude=exclude, config=CONFIG
        )
        assert set(answer) <= set(possible)
        assert len(set(answer)) == len(answer) == min(40, len(possible))
        assert (np.diff(products) <= 1e-5).all()


def test_a_filter_against_the_query_is_still_filled(built):
    """The allowed half is the half that the query likes least: the index's own list holds none of it."""
    query = catalogue(1, seed=9)[0]
    products = built.embeddings @ query
    allowed = products < np.median(products)
    answer, _ = filtered_search(
        built.index,
        built.embeddings,
        query,
        k=25,
        allowed=allowed,
        exclude=np.empty(0, np.int32),
        config=replace(CONFIG, exact_filter_below=0),
    )
    best = np.flatnonzero(allowed)[np.argsort(-products[allowed], kind="stable")[:25]]
    assert set(answer) == set(best)


def test_exclusion_without_a_filter(built):
    query = catalogue(1, seed=10)[0]
    first = built.index.search(query[None], k=30)[0][0]
    answer, _ = filtered_search(built.index, built.embeddings, query, k=30, allowed=None, exclude=first, config=CONFIG)
    assert len(answer) == 30
    assert not set(answer) & set(first)


def test_a_build_below_its_gate_is_refused_with_the_reason_and_the_fix():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3_000, DIMENSIONS)).astype(np.float32)
    starved = replace(CONFIG, leaves_share=0.02, widen_most=0)
    with pytest.raises(RecallBelowGate, match=r"recall@100 0\.\d+ .* below the gate 0\.95.*Raise leaves_share"):
        build_index("faiss", noise, queries=noise[:64], config=starved)


@pytest.mark.parametrize("kind", ["faiss", "scann"])
def test_a_build_below_its_gate_searches_more_before_it_is_refused(kind, tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3_000, DIMENSIONS)).astype(np.float32)
    built = build_index(kind, noise, queries=noise[:64], config=replace(CONFIG, leaves_share=0.1, widen_most=4))
    assert 0 < built.report.widened <= 4
    assert built.report.recall >= CONFIG.gate
    save_index(built, tmp_path / "index", item_ids=[str(row) for row in range(3_000)])
    loaded, _ = load_index(tmp_path / "index")
    np.testing.assert_array_equal(loaded.index.search(noise[:8], k=50)[0], built.index.search(noise[:8], k=50)[0])


def test_exact_search_passes_any_gate():
    built = build_index("exact", catalogue(3_000), queries=catalogue(16, seed=1), config=replace(CONFIG, gate=1.0))
    assert built.report.recall == 1.0


def twins(rows: int, *, distinct: int) -> np.ndarray:
    """A catalogue of few distinct embeddings, as cold items of few categories have."""
    return catalogue(distinct, seed=11)[np.random.default_rng(11).integers(distinct, size=rows)]


@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.parametrize("distinct", [1, 3])
def test_search_of_every_row_passes_the_highest_gate_where_products_tie(kind, distinct):
    strict = replace(CONFIG, gate=1.0, widen_most=0)
    assert build_index(kind, twins(400, distinct=distinct), queries=catalogue(64), config=strict).report.recall == 1


def test_a_row_that_misses_the_last_place_does_not_count():
    embeddings, query = np.array([[3.0], [2.0], [2.0], [1.0]], np.float32), np.ones((1, 1), np.float32)
    answers = {(0, 2): 1.0, (2, 1): 1.0, (0, 3): 0.5, (3, -1): 0.0}
    for rows, share in answers.items():
        assert recall(np.array([rows]), np.array([[0, 1]]), embeddings=embeddings, queries=query) == share


def test_exact_search_of_many_rows_scores_fewer_queries_at_once(monkeypatch):
    items, queries = catalogue(3_000), catalogue(64, seed=1)
    rows, _ = ExactIndex(items).search(queries, k=20)
    monkeypatch.setattr(retrieval.exact, "SCORES", 10 * len(items))
    index, blocks = ExactIndex(items), []
    products = index._products
    monkeypatch.setattr(index, "_products", lambda block: blocks.append(len(block)) or products(block))
    np.testing.assert_array_equal(index.search(queries, k=20)[0], rows)
    assert blocks == [10] * 6 + [4]


@pytest.mark.parametrize("rows", [5, 101, 1001])
def test_exact_search_orders_equal_embeddings_by_row_for_one_query_as_for_many(rows):
    embeddings, queries = twins(rows, distinct=3), catalogue(65, seed=12)
    index, k = build_index("exact", embeddings, queries=queries).index, min(rows, 60)
    many, _ = index.search(queries, k=k)
    for query, answer in zip(queries, many, strict=True):
        oracle = np.lexsort((np.arange(rows), -np.array([row.astype(float) @ query for row in embeddings])))[:k]
        np.testing.assert_array_equal(answer, oracle)
        np.testing.assert_array_equal(index.search(query[None], k=k)[0][0], oracle)
        every, none = np.ones(rows, bool), np.empty(0, np.int32)
        np.testing.assert_array_equal(
            filtered_search(index, embeddings, query, k=k, allowed=every, exclude=none)[0], oracle
        )


@pytest.mark.parametrize(
    ("embeddings", "queries", "message"),
    [
        (np.full((5, 2), np.nan, np.float32), np.ones((1, 2), np.float32), "NaN or infinity, the first is row 0"),
        (np.empty((0, 2), np.float32), np.ones((1, 2), np.float32), r"shape \(0, 2\)"),
        (np.ones((5, 2), np.float32), np.ones((1, 3), np.float32), "3 dimensions"),
    ],
)
def test_unusable_numbers_are_refused(embeddings, queries, message):
    with pytest.raises(ValueError, match=message):
        build_index("exact", embeddings, queries=queries)


def test_an_unknown_kind_lists_the_known():
    with pytest.raises(ValueError, match="auto, exact, scann, faiss"):
        build_index("annoy", catalogue(10), queries=catalogue(2))


PROOF = """
import sys, numpy as np
from retrieval.build import build_index
rows = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
build_index("scann", rows, queries=rows)
assert not any(name.split(".")[0] == "tensorflow" for name in sys.modules), "TensorFlow was loaded"
"""


def test_searching_with_scann_does_not_load_tensorflow():
    subprocess.run([sys.executable, "-c", PROOF], check=True, timeout=60)


def test_auto_takes_the_quickest_of_those_that_reach_the_recall():
    config = replace(CONFIG, index_recall=0.9, gate=0.95)  # an index below the gate would be widened afterwards
    built = build_index("auto", catalogue(600), queries=catalogue(64, seed=1), config=config)
    reaching = [trial for trial in built.report.trials if trial.recall >= 0.95]
    best = max(reaching, key=lambda trial: trial.queries_per_second)
    assert (built.report.kind, dict(built.report.parameters)) == (best.kind, dict(best.parameters))
    assert {trial.kind for trial in built.report.trials} == set(BUILDERS)
    hurried = replace(CONFIG, index_seconds=0.0)
    assert build_index("auto", catalogue(600), queries=catalogue(8), config=hurried).report.left_out == (
        "scann",
        "ivf_flat",
        "ivf_pq",
        "hnsw",
    )


@pytest.mark.parametrize(("storage", "error"), [("float32", 0.0), ("bfloat16", 2**-8), ("int8", 0.5 / 127)])
def test_stored_vectors_lie_within_their_rounding(storage, error):
    rows = catalogue(500)
    stored = StoredVectors.of(rows, storage=storage).rows(np.arange(500))
    largest = np.abs(rows).max(axis=1, keepdims=True) if storage == "int8" else np.abs(rows)
    assert (np.abs(stored - rows) <= error * largest * (1 + 1e-6)).all()
    oracle = np.argsort(-(catalogue(4, seed=1) @ stored.T), axis=1, kind="stable")[:, :10]
    index = ExactIndex(StoredVectors.of(rows, storage=storage))
    np.testing.assert_array_equal(index.search(catalogue(4, seed=1), k=10)[0], oracle)


def moving(rows: int, *, room: int, **settings) -> MovingIndex:
    config = replace(CONFIG, **settings)
    return MovingIndex(build_index("scann", catalogue(rows), queries=catalogue(64), config=config), room=room)


def test_a_rebuild_holds_what_moved_before_and_while_it_was_built():
    index, fresh = moving(600, room=50, rebuild_least=30, rebuild_share=0.0, watch_every=2), catalogue(650, seed=20)
    order = np.random.default_rng(0).permutation(650).astype(np.int32)
    truth = np.concatenate([catalogue(600), np.zeros((50, DIMENSIONS), np.float32)])
    known = np.arange(650) < 600
    for rows in np.array_split(order, 13):  # the first moves begin a rebuild, the others come while it is built
        index.move(rows, fresh[rows])
        truth[rows], known[rows] = fresh[rows], True
        query = rows[0]
        best = np.flatnonzero(known)[np.argsort(-(truth[known] @ fresh[query]), kind="stable")[:5]]
        answer, _ = index.nearest(fresh[query], k=5, allowed=None, exclude=np.empty(0, np.int32))
        np.testing.assert_array_equal(answer, best)
        np.testing.assert_array_equal(index.embeddings[np.arange(650)], truth)
    index.wait()
    assert (index.rebuilds, index.failure) == (1, "")
    assert index.report.rows >= 600
    for query in catalogue(8, seed=21):
        best = np.argsort(-(truth @ query), kind="stable")[:5]
        np.testing.assert_array_equal(index.nearest(query, k=5, allowed=None, exclude=np.empty(0, np.int32))[0], best)
    assert index.watched_recall == 1.0


def test_a_rebuild_that_fails_leaves_the_index_as_it_was():
    index = moving(600, room=0, watch_every=1)
    before = index.report
    index.nearest(catalogue(1)[0], k=5, allowed=None, exclude=np.empty(0, np.int32))
    assert index.watched_recall == 1.0
    index.move(np.array([3]), np.full((1, DIMENSIONS), np.nan, np.float32))
    index.rebuild()
    index.wait()
    assert "NaN" in index.failure
    assert (index.rebuilds, index.report) == (0, before)
    assert index.watched_recall is None, "what was too low is measured anew before it is mended again"


@pytest.mark.parametrize("moved", [[], [5]])
def test_rows_that_are_not_allowed_or_without_an_item_may_be_excluded(moved):
    index, query = moving(600, room=50), catalogue(1, seed=22)[0]
    index.move(np.array(moved, np.int32), catalogue(600)[moved])
    for share, k in ((0.03, 20), (0.5, 300)):
        allowed = np.arange(650) < 600 * share
        answer, _ = index.nearest(query, k=k, allowed=allowed, exclude=np.array([3, 599, 598, 610], np.int32))
        assert sorted(answer) == [row for row in np.flatnonzero(allowed)[:k] if row != 3]
