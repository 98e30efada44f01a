"""The laws that every candidate source keeps: each test runs over all rows of `retrieval.sources.rows.SOURCES`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from features.interactions import Interactions, joined
from marketplace.simulator import SimulatorConfig, simulate
from marketplace.splits import DAY_US, microseconds
from retrieval.blend import ScoringSource
from retrieval.build import build_index
from retrieval.candidates import Query
from retrieval.saved_sources import load_source
from retrieval.sources.inputs import SourceInputs
from retrieval.sources.rows import SOURCES
from retrieval.surfaces import shipped_surfaces

N_ITEMS = 400
HALF = 60  # days after which the later part of the events begins
SMALL = replace(SimulatorConfig.small(), requests=300, users=80, items=N_ITEMS, merchants=20)
EMBEDDINGS = np.random.default_rng(1).normal(size=(N_ITEMS, 8)).astype(np.float32)
INPUTS = SourceInputs(
    simulate(SMALL, np.random.default_rng(5)).dataset,
    "user_segment",
    build_index("exact", EMBEDDINGS, queries=EMBEDDINGS[:4]),
)
START, NOW = (int(edge(microseconds(INPUTS.dataset.slates["time"]))) for edge in (np.min, np.max))
LEARNING = [row for row in SOURCES if row.learns_from is not None]


def named(rows):
    return pytest.mark.parametrize("row", rows, ids=[row.build(INPUTS).name for row in rows])


def events(rows: int = 4_000, *, seed: int = 0, since: float = 0, until: float = 2 * HALF) -> Interactions:
    """Random interactions of 30 users in 3 segments; times in days; popular items have low rows."""
    rng = np.random.default_rng(seed)
    user = rng.integers(30, size=rows)
    return Interactions(
        user=codes(user, "user"),
        segment=codes(user % 3, "segment"),
        session=codes(user * 20 + rng.integers(20, size=rows), f"visit after day {since}"),
        item=np.minimum(rng.geometric(0.01, rows), N_ITEMS - 1).astype(np.int32),
        time=START + (rng.uniform(since, until, rows) * DAY_US).astype(np.int64),
        weight=rng.choice([0.2, 1.0], rows).astype(np.float32),
        until=START + int(until * DAY_US),
        kind=np.zeros(rows, np.int64),
        answers=np.zeros(rows, bool),
    )


def codes(values: np.ndarray, prefix: str) -> pa.DictionaryArray:
    names = pa.array([f"{prefix} {value}" for value in range(int(values.max()) + 1)])
    return pa.DictionaryArray.from_arrays(values.astype(np.int32), names)


def query(**changes) -> Query:
    history = np.array([5, 3, 130, 7], np.int32)
    plain = {"user_id": "user 4", "segment": "segment 1", "history": history, "embedding": np.ones(8, np.float32)}
    plain["text"] = "perfume smart"
    return Query(**(plain | {"time": NOW, "page_item": 7} | changes))


def learned(row, *parts: Interactions):
    """The source of a row after it learned from `parts`, one after another."""
    source = row.build(INPUTS)
    for part in parts if row.learns_from is not None else ():
        source.update(part)
    return source


def scored(source, asking: Query, items: np.ndarray) -> np.ndarray:
    """The source's scores of any items; 0 of one that takes no part in the blend."""
    return source.score(asking, items) if isinstance(source, ScoringSource) else np.zeros(len(items))


def answers(source, *, k: int = 30):
    """Everything that a source says of one query."""
    items, scores = source.propose(query(), k=k)
    return items, scores, scored(source, query(), np.arange(N_ITEMS))


def alike(one, other, *, rtol: float):
    for first, second in zip(answers(one)[1:], answers(other)[1:], strict=True):
        np.testing.assert_allclose(first, second, rtol=rtol, atol=rtol)


@named(SOURCES)
class TestProposals:
    """What is proposed, whoever the source is."""

    def test_distinct_finite_best_first_and_at_most_k(self, row):
        items, scores = learned(row, events()).propose(query(), k=20)
        assert 0 < len(items) <= 20
        assert len(set(items)) == len(items) == len(scores)
        assert np.isfinite(scores).all()
        assert (np.diff(scores) <= 0).all()
        assert (items.dtype, scores.dtype) == (np.int32, np.float32)

    def test_only_allowed_and_not_excluded_in_the_same_order(self, row):
        source, allowed = learned(row, events()), np.arange(N_ITEMS) % 2 == 0
        first, _ = source.propose(query(), k=20)
        items, _ = source.propose(query(allowed=allowed, exclude=first[:5]), k=20)
        assert allowed[items].all()
        assert not set(items) & set(first[:5])
        both = [item for item in first if allowed[item] and item not in first[:5]]
        assert list(items[: len(both)]) == both

    def test_nothing_allowed_nothing_proposed(self, row):
        items, scores = learned(row, events()).propose(query(allowed=np.zeros(N_ITEMS, bool)), k=20)
        assert len(items) == len(scores) == 0

    def test_what_it_proposes_it_also_scores_best_of_all_items(self, row):
        """Affinity scores the group's lift alone, and an own item of a low rebuy rate ranks below a stranger's."""
        source = learned(row, events())
        items, scores = source.propose(query(), k=10)
        if not isinstance(source, ScoringSource):
            return
        everything = scored(source, query(), np.arange(N_ITEMS))
        if source.name == "affinity":
            assert everything[items].min() >= np.median(everything)
            return
        np.testing.assert_allclose(everything[items], scores, rtol=1e-4, atol=1e-5)
        if source.name == "rebuys":
            return
        assert np.sort(everything)[-len(items) :].min() == pytest.approx(scores.min(), rel=1e-4, abs=1e-5)

    def test_many_items_are_scored_as_each_alone_and_every_score_is_finite(self, row):
        source, items = learned(row, events()), np.array([7, 0, 399, 5, 130])
        together = scored(source, query(), items)
        assert np.isfinite(together).all()
        alone = [scored(source, query(), items[place : place + 1])[0] for place in range(len(items))]
        np.testing.assert_allclose(together, alone, rtol=1e-6)

    def test_the_same_query_gets_the_same_answer(self, row):
        source = learned(row, events())
        for one, other in zip(answers(source), answers(source), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_a_stranger_without_history_of_an_unknown_segment_is_answered(self, row):
        stranger = query(user_id="stranger", segment="nowhere", history=np.empty(0, np.int32), embedding=None)
        source = learned(row, events())
        items, scores = source.propose(stranger, k=20)
        assert len(items) == len(scores) <= 20
        assert np.isfinite(scored(source, stranger, np.arange(N_ITEMS))).all()

    def test_save_and_load_give_the_same_bits(self, row, tmp_path):
        source = learned(row, events())
        if not row.over_index:
            source.save(tmp_path / "state")
        loaded = load_source(row.kind, tmp_path / "state", index=INPUTS.index, lexical_index=INPUTS.lexical_index)
        assert loaded.name == source.name
        for one, other in zip(answers(loaded), answers(source), strict=True):
            np.testing.assert_array_equal(one, other)


@named(LEARNING)
class TestLearning:
    """What is learned, however it arrives."""

    def test_the_order_of_rows_does_not_matter(self, row):
        shuffled = events().select(np.random.default_rng(2).permutation(4_000))
        alike(learned(row, shuffled), learned(row, events()), rtol=1e-5)

    def test_what_is_learned_in_parts_is_what_is_learned_at_once(self, row, tmp_path):
        early, late = events(2_000, until=HALF), events(2_000, seed=1, since=HALF)
        whole = joined(replace(early, until=late.until), late)
        parts = learned(row, early, late)
        alike(parts, learned(row, whole), rtol=1e-3)
        parts.save(tmp_path / "state")
        loaded = load_source(row.kind, tmp_path / "state", index=None)
        for one, other in zip(answers(loaded), answers(parts), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_an_event_delivered_twice_counts_as_one_of_twice_the_weight(self, row):
        """Sources that count sessions look at no weight: there it counts once."""
        twice = events().select(np.repeat(np.arange(4_000), 2))
        heavy = replace(events(), weight=2 * events().weight)
        alike(learned(row, twice), learned(row, heavy), rtol=1e-5)

    @pytest.mark.parametrize("rows", [0, 1])
    def test_nothing_and_a_single_event_are_enough_to_answer(self, row, rows):
        source = learned(row, events().select(np.arange(rows)))
        items, scores = source.propose(query(), k=20)
        assert len(items) == len(scores) <= 20
        assert np.isfinite(scored(source, query(), np.arange(N_ITEMS))).all()


def test_the_shipped_recipes_name_every_source_that_a_run_can_have():
    names = {row.build(INPUTS).name for row in SOURCES}
    assert names == set(shipped_surfaces().names)
