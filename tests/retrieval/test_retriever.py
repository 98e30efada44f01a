"""Merging keeps the quotas, names sources truthfully, and repeats itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from retrieval.blend import Blend, CandidatePool, fit_blend, load_blends, save_blends
from retrieval.candidates import Query
from retrieval.retriever import Quota, Retriever

ASK = Query(user_id="u", segment="s", history=np.empty(0, np.int32))


@dataclass
class Fixed:
    """A source that always proposes the same items, in logarithmic scores."""

    name: str
    items: list[int]

    def propose(self, query, *, k):
        items = np.array([item for item in self.items if query.allowed is None or query.allowed[item]], np.int32)[:k]
        return items, -np.log1p(np.arange(len(items))).astype(np.float32)

    def score(self, query, items):
        ranks = [self.items.index(item) if item in self.items else 999 for item in items]
        return -np.log1p(np.array(ranks))


FIRST, SECOND = Fixed("first", list(range(0, 50))), Fixed("second", list(range(40, 90)))
QUOTAS = {"first": Quota(50), "second": Quota(50)}


def test_candidates_are_distinct_and_come_best_first():
    candidates = Retriever([FIRST, SECOND], QUOTAS).retrieve(ASK, k=60)
    assert len(candidates.items) == len(set(candidates.items)) == 60
    assert (np.diff(candidates.score) <= 0).all()


def test_every_candidate_names_a_source_that_proposed_it_and_ranked_it_best():
    candidates = Retriever([FIRST, SECOND], QUOTAS).retrieve(ASK, k=200)
    assert candidates.sources == ("first", "second")
    for item, source in zip(candidates.items, candidates.source, strict=True):
        ranks = [s.items.index(item) if item in s.items else 1_000 for s in (FIRST, SECOND)]
        assert source == int(np.argmin(ranks))


def test_sure_items_are_in_whatever_the_blend_thinks():
    only_first = Blend((1.0, 0.0))
    quotas = {"first": Quota(50), "second": Quota(50, sure=7)}
    without = Retriever([FIRST, SECOND], QUOTAS, blend=only_first).retrieve(ASK, k=20)
    with_quota = Retriever([FIRST, SECOND], quotas, blend=only_first).retrieve(ASK, k=20)
    assert not set(without.items) & set(SECOND.items[10:])
    assert set(SECOND.items[:7]) <= set(with_quota.items)
    assert len(with_quota.items) == 20


def test_equal_scores_come_by_catalogue_row_whoever_is_sure():
    quotas = {"first": Quota(50), "second": Quota(50, sure=3)}
    both = Retriever([FIRST, SECOND], quotas).retrieve(ASK, k=60)
    np.testing.assert_array_equal(both.items, both.items[np.lexsort((both.items, -both.score))])


def test_exclusion_reaches_the_sources_as_part_of_the_filter():
    ask = Query("u", "s", np.empty(0, np.int32), allowed=np.ones(100, bool), exclude=np.array([0, 1, 40], np.int32))
    candidates = Retriever([FIRST, SECOND], QUOTAS).retrieve(ask, k=200)
    assert not {0, 1, 40} & set(candidates.items)
    assert len(candidates.items) == 87
    assert ask.allowed.all()


def test_the_same_query_gives_the_same_candidates():
    retriever = Retriever([FIRST, SECOND], QUOTAS)
    one, other = retriever.retrieve(ASK, k=30), retriever.retrieve(ASK, k=30)
    np.testing.assert_array_equal(one.items, other.items)
    np.testing.assert_array_equal(one.source, other.source)


def test_no_source_with_anything_gives_an_empty_answer():
    candidates = Retriever([Fixed("first", []), Fixed("second", [])], QUOTAS).retrieve(ASK, k=30)
    assert len(candidates.items) == len(candidates.source) == len(candidates.score) == 0


@pytest.mark.parametrize(
    ("sources", "quotas", "message"),
    [([FIRST, FIRST], QUOTAS, "different names"), ([FIRST], QUOTAS, "give each source one")],
)
def test_quotas_that_do_not_fit_the_sources_are_refused(sources, quotas, message):
    with pytest.raises(ValueError, match=message):
        Retriever(sources, quotas)


def test_a_fitted_blend_trusts_the_source_that_was_right(tmp_path):
    """Items of high first score are wanted; the second score is noise: ranking by the blend finds them."""
    rng = np.random.default_rng(0)
    pools = [CandidatePool(np.arange(80), np.zeros((80, 2), np.int32), rng.normal(size=(80, 2))) for _ in range(60)]
    blend = fit_blend(pools, [np.flatnonzero(one.scores[:, 0] > 1.5) for one in pools])
    assert blend.weights[0] > 10 * abs(blend.weights[1])
    blends = {"home": {"first": blend.weights[0], "second": blend.weights[1]}}
    save_blends(blends, tmp_path / "blends.json")
    assert load_blends(tmp_path / "blends.json") == blends


def test_a_blend_cannot_be_learned_without_examples():
    with pytest.raises(ValueError, match="0 of 10 pooled candidates are wanted"):
        fit_blend([CandidatePool(np.arange(10), np.zeros((10, 2), np.int32), np.zeros((10, 2)))], [np.array([99])])


def test_a_blend_scores_every_candidate_by_every_source():
    """Item 45 is the first source's 46th and the second's 6th: its score is the sum of both, with their weights."""
    retriever = Retriever([FIRST, SECOND], QUOTAS, blend=Blend((2.0, 1.0)))
    candidates = retriever.retrieve(ASK, k=200)
    best = -2.0 * np.log1p(45) - np.log1p(5) + 0.1 * (1 / (60 + 45) + 1 / (60 + 5))
    assert candidates.score[list(candidates.items).index(45)] == pytest.approx(best)


def test_items_that_a_blend_cannot_tell_apart_follow_the_sources_order():
    """Both weights are 0, as for a shopper without a past: no ties, and whoever both sources put first leads."""
    candidates = Retriever([FIRST, SECOND], QUOTAS, blend=Blend((0.0, 0.0))).retrieve(ASK, k=200)
    plain = Retriever([FIRST, SECOND], QUOTAS).retrieve(ASK, k=200)
    np.testing.assert_array_equal(candidates.items, plain.items)
    assert len(np.unique(candidates.score)) == len(np.unique(plain.score))


def test_a_source_that_cannot_score_is_fused_by_rank_and_has_no_weight_in_a_blend():
    class Silent:
        name = "second"

        def propose(self, query, *, k):
            return SECOND.propose(query, k=k)

    assert len(Retriever([FIRST, Silent()], QUOTAS).retrieve(ASK, k=200).items) == 90
    blended = Retriever([FIRST, Silent()], QUOTAS, blend=Blend((1.0,)))
    assert blended.scoring == ("first",)
    assert len(blended.retrieve(ASK, k=200).items) == 90
    with pytest.raises(ValueError, match=r"2 weights, the sources that score are \('first',\)"):
        Retriever([FIRST, Silent()], QUOTAS, blend=Blend((1.0, 1.0)))
