"""Merging keeps the quotas, names sources truthfully, and repeats itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from retrieval.blend import Blend, fit_blend, pool
from retrieval.retriever import Quota, Retriever
from retrieval.source import Query

ASK = Query(user_id="u", segment="s", history=np.empty(0, np.int32))


@dataclass
class Fixed:
    """A source that always proposes the same items, in logarithmic scores."""

    name: str
    items: list[int]

    def propose(self, query, *, k):
        items = np.array([item for item in self.items if query.allowed is None or query.allowed[item]], np.int32)[:k]
        return items, -np.log1p(np.arange(len(items))).astype(np.float32)


FIRST, SECOND = Fixed("first", list(range(0, 50))), Fixed("second", list(range(40, 90)))
QUOTAS = {"first": Quota(50), "second": Quota(50)}


def test_candidates_are_distinct_and_come_best_first():
    found = Retriever([FIRST, SECOND], QUOTAS).retrieve(ASK, k=60)
    assert len(found.items) == len(set(found.items)) == 60
    assert (np.diff(found.score) <= 0).all()


def test_every_candidate_names_a_source_that_proposed_it_and_ranked_it_best():
    found = Retriever([FIRST, SECOND], QUOTAS).retrieve(ASK, k=200)
    assert found.sources == ("first", "second")
    for item, source in zip(found.items, found.source, strict=True):
        ranks = [s.items.index(item) if item in s.items else 1_000 for s in (FIRST, SECOND)]
        assert source == int(np.argmin(ranks))


def test_sure_items_are_in_whatever_the_blend_thinks():
    only_first = Blend(((1.0, 0.0, 1.0), (-9.0, 0.0, 0.0)))
    quotas = {"first": Quota(50), "second": Quota(50, sure=7)}
    without = Retriever([FIRST, SECOND], QUOTAS, blend=only_first).retrieve(ASK, k=20)
    with_quota = Retriever([FIRST, SECOND], quotas, blend=only_first).retrieve(ASK, k=20)
    assert not set(without.items) & set(SECOND.items[10:])
    assert set(SECOND.items[:7]) <= set(with_quota.items)
    assert len(with_quota.items) == 20


def test_exclusion_reaches_the_sources_as_part_of_the_filter():
    ask = Query("u", "s", np.empty(0, np.int32), allowed=np.ones(100, bool), exclude=np.array([0, 1, 40], np.int32))
    found = Retriever([FIRST, SECOND], QUOTAS).retrieve(ask, k=200)
    assert not {0, 1, 40} & set(found.items)
    assert len(found.items) == 87
    assert ask.allowed.all()


def test_the_same_query_gives_the_same_candidates():
    retriever = Retriever([FIRST, SECOND], QUOTAS)
    one, other = retriever.retrieve(ASK, k=30), retriever.retrieve(ASK, k=30)
    np.testing.assert_array_equal(one.items, other.items)
    np.testing.assert_array_equal(one.source, other.source)


def test_no_source_with_anything_gives_an_empty_answer():
    found = Retriever([Fixed("first", []), Fixed("second", [])], QUOTAS).retrieve(ASK, k=30)
    assert len(found.items) == len(found.source) == len(found.score) == 0


@pytest.mark.parametrize(
    ("sources", "quotas", "message"),
    [([FIRST, FIRST], QUOTAS, "different names"), ([FIRST], QUOTAS, "give each source one")],
)
def test_quotas_that_do_not_fit_the_sources_are_refused(sources, quotas, message):
    with pytest.raises(ValueError, match=message):
        Retriever(sources, quotas)


def test_a_fitted_blend_trusts_the_source_that_was_right(tmp_path):
    """Wanted items are always the first source's best; the second is noise: ranking by the blend finds them."""
    rng = np.random.default_rng(0)
    pools, wanted = [], []
    for _ in range(60):
        good, noise = rng.permutation(500)[:50], rng.permutation(500)[:50]
        score = -np.log1p(np.arange(50)).astype(np.float32)
        pools.append(pool([(good, score), (noise, score)]))
        wanted.append(good[:5])
    blend = fit_blend(pools, wanted)
    best = [one.items[np.argsort(-blend.score(one))[:5]] for one in pools]
    assert np.mean([np.isin(rows, items) for rows, items in zip(wanted, best, strict=True)]) > 0.95
    blend.save(tmp_path / "blend.json")
    assert Blend.load(tmp_path / "blend.json") == blend


def test_the_fast_score_is_the_features_times_the_weights():
    score = -np.log1p(np.arange(30)).astype(np.float32)
    one = pool([(np.arange(30), score), (np.arange(20, 50), score)])
    blend = Blend(((1.5, -0.3, 0.2), (0.1, -1.0, 2.0)))
    np.testing.assert_allclose(blend.score(one), one.features @ np.array(blend.weights).ravel(), rtol=1e-5, atol=1e-6)
