"""Each source proposes what its name says, and nothing that the query forbids."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from features.interactions import Interactions, impressions, interactions, joined
from marketplace.schema import FEEDBACK, conform
from marketplace.splits import DAY_US
from retrieval.candidates import Query
from retrieval.sources.affinity import Affinity
from retrieval.sources.covisits import CoVisits
from retrieval.sources.popularity import Popularity
from retrieval.sources.recent import Recent
from retrieval.sources.repeat_purchase import RepeatPurchase
from retrieval.sources.similar_segments import SimilarSegments
from retrieval.sources.similar_shoppers import SimilarShoppers
from retrieval.sources.user_history import UserHistory

N_ITEMS = 400
NOBODY = np.empty(0, np.int32)
GROUP = (np.arange(N_ITEMS) // 40).astype(np.int32)


def query(**changes) -> Query:
    history = np.array([5, 3, 130, 7], np.int32)
    return Query(**({"user_id": "user 4", "segment": "segment 1", "history": history} | changes))


def few(rows: list[tuple[str, str, str, int, float, float]], *, until: float) -> Interactions:
    """(user, segment, session, item, day, weight) rows."""
    user, segment, session, item, day, weight = zip(*rows, strict=True)
    return Interactions(
        *(pa.array(column).dictionary_encode() for column in (user, segment, session)),
        item=np.array(item, np.int32),
        time=(np.array(day) * DAY_US).astype(np.int64),
        weight=np.array(weight, np.float32),
        until=int(until * DAY_US),
    )


def test_popularity_fades_by_half_in_a_half_life():
    source = Popularity(10, half_life_days=7, prior=0)
    source.update(few([("u", "s", "v", 1, 0, 3.0), ("u", "s", "v", 2, 7, 1.0)], until=7))
    items, scores = source.propose(query(segment="s"), k=2)
    assert list(items) == [1, 2]
    np.testing.assert_allclose(np.exp(scores), [1.5 / 2.5, 1.0 / 2.5], rtol=1e-6)


def test_popularity_is_the_segments_own_and_an_unknown_segment_gets_everyones():
    rows = [("u", "riyadh", "v", 1, 0, 5.0), ("u", "kuwait", "v", 2, 0, 50.0)]
    source = Popularity(10, prior=1.0)
    source.update(few(rows, until=1))
    assert source.propose(query(segment="riyadh"), k=1)[0] == [1]
    assert source.propose(query(segment="kuwait"), k=1)[0] == [2]
    assert source.propose(query(segment="doha"), k=1)[0] == [2]


def test_a_part_of_the_segment_can_count_alone(tmp_path):
    rows = [
        ("u", "riyadh|web", "v", 1, 0, 5.0),
        ("u", "riyadh|app", "v", 2, 0, 9.0),
        ("u", "doha|app", "v", 3, 0, 50.0),
    ]
    by_city, by_device = (Popularity(10, prior=0.1, levels=levels) for levels in ((0,), (1,)))
    for source in (by_city, by_device):
        source.update(few(rows, until=1))
    by_device.save(tmp_path / "state")
    assert by_city.propose(query(segment="riyadh|web"), k=1)[0] == [2]
    assert Popularity.load(tmp_path / "state").propose(query(segment="riyadh|app"), k=1)[0] == [3]


def test_related_segments_lend_what_they_like():
    """Nearby and center share item 1; far shares nothing: nearby's item 2 is proposed in the center, far's is not."""
    rows = [
        ("u", "center", "v", 1, 0, 1.0),
        ("u", "nearby", "v", 1, 0, 1.0),
        ("u", "nearby", "v", 2, 0, 3.0),
        ("u", "far", "v", 3, 0, 9.0),
    ]
    source = SimilarSegments(10)
    source.update(few(rows, until=1))
    assert list(source.propose(query(segment="center"), k=5)[0]) == [2, 1]
    assert list(source.propose(query(segment="far"), k=5)[0]) == []


def test_similar_shoppers_lend_what_they_take():
    """Two take the items that the asker takes, or one of them; whoever shares nothing lends nothing."""
    taken = {"asker": [0, 1], "like": [0, 1, 2], "less": [1, 3, 4], "other": [5]}
    source = SimilarShoppers(10, neighbours=2)
    source.update(few([(user, "s", "v", item, 1, 1.0) for user, items in taken.items() for item in items], until=1))
    rarity = np.log(4 / np.array([2, 3, 1, 1, 1, 1]))
    asker, like, less = (np.isin(np.arange(6), taken[user]) * rarity for user in ("asker", "like", "less"))
    cosines = [asker @ other / np.linalg.norm(asker) / np.linalg.norm(other) for other in (like, less)]
    expected = cosines[0] * np.array([1, 1, 1, 0, 0, 0]) / 3 + cosines[1] * np.array([0, 1, 0, 1, 1, 0]) / 3
    score = source.score(query(user_id="asker"), np.arange(6))
    np.testing.assert_allclose(np.exp(score), expected + 1e-4, rtol=1e-6)
    assert source.propose(query(user_id="asker"), k=3)[0].tolist() == [1, 0, 2]
    assert source.propose(query(user_id="other"), k=3)[0].tolist() == []


def test_recent_goes_back_in_order_and_names_an_item_once():
    items, scores = Recent(10).propose(query(history=np.array([4, 2, 4, 7], np.int32)), k=5)
    assert items.tolist() == [7, 4, 2]
    np.testing.assert_allclose(scores, -np.log1p([0, 1, 2]), rtol=1e-6)


def test_impressions_are_faint_and_fainter_further_down():
    shown = table_of_slates([["a", "b", "unlisted"], ["b"]])
    shown_items = impressions(shown, item_ids=pa.array(["a", "b"]), until=2, weight=0.1, discount=1.0)
    assert shown_items.item.tolist() == [0, 1]
    np.testing.assert_allclose(shown_items.weight, [0.1, 0.05], rtol=1e-6)
    both = joined(shown_items, shown_items)
    assert both.item.tolist() == [0, 1, 0, 1]
    assert both.session.to_pylist() == shown_items.session.to_pylist() * 2


def test_some_of_the_impressions_are_impressions():
    shown = impressions(table_of_slates([["a", "b"], ["b"]]), item_ids=pa.array(["a", "b"]), until=9)
    for rows in (np.array([False, True, True]), np.array([1, 2])):
        part = shown.select(rows)
        assert part.item.tolist() == [1, 1]
        assert part.session.to_pylist() == shown.session.to_pylist()[1:]
        assert len(part.kind) == len(part.answers) == 0


def table_of_slates(lists: list[list[str]]) -> pa.Table:
    """Requests at times 1, 2, ... that showed `lists`."""
    columns: dict[str, list] = {
        "request_id": [f"r{n}" for n in range(len(lists))],
        "user_id": ["u"] * len(lists),
        "time": pa.array(range(1, len(lists) + 1), pa.timestamp("us", tz="UTC")),
        "item_id": lists,
        "position": [list(range(1, len(row) + 1)) for row in lists],
    }
    return pa.table(columns)


def test_repeats_are_the_users_own_and_more_recent_first():
    source = UserHistory(10, half_life_days=10)
    source.update(few([("a", "s", "v", 1, 0, 1), ("a", "s", "w", 2, 20, 1), ("b", "s", "x", 3, 20, 1)], until=21))
    assert list(source.propose(query(user_id="a"), k=5)[0]) == [2, 1]
    assert list(source.propose(query(user_id="stranger"), k=5)[0]) == []


def test_rebuys_prefer_what_others_came_back_to():
    """Item 1 was bought in two visits by both other users, item 2 in one: our user has each once."""
    rows = [("a", "s", f"a{n}", 1, n, 1) for n in range(2)] + [("b", "s", f"b{n}", 1, n, 1) for n in range(2)]
    rows += [("a", "s", "a0", 2, 0, 1), ("b", "s", "b0", 2, 0, 1), ("b", "s", "b0", 2, 0, 1)]
    rows += [("me", "s", "m", 1, 0, 1), ("me", "s", "m", 2, 0, 1)]
    source = RepeatPurchase(10, prior=0.0)
    source.update(few(rows, until=3))
    items, scores = source.propose(query(user_id="me"), k=5)
    assert items.tolist() == [1, 2]
    np.testing.assert_allclose(np.exp(scores), [2 / 3, 1e-3], rtol=1e-5)
    assert source.propose(query(user_id="stranger"), k=5)[0].tolist() == []


def test_covisits_are_of_one_session_and_the_latest_touch_counts_most():
    rows = [("u", "s", "v", 1, 0, 1), ("u", "s", "v", 2, 0, 1), ("u", "s", "w", 3, 0, 1), ("u", "s", "w", 4, 0, 1)]
    source = CoVisits(10, recency=1)
    source.update(few(rows, until=1))
    assert list(source.propose(query(history=np.array([1], np.int32)), k=5)[0]) == [2]
    assert list(source.propose(query(history=np.array([1, 3], np.int32)), k=5)[0]) == [4, 2]
    assert list(source.propose(query(history=NOBODY), k=5)[0]) == []


def test_affinity_prefers_the_group_of_the_history_over_a_more_popular_one():
    rows = [("u", "s", "v", 1, 0, 1), ("u", "s", "v", 50, 0, 3), ("u", "s", "v", 51, 0, 1)]
    source = Affinity(GROUP, strength=1.0, damping=1.0)
    source.update(few(rows, until=1))
    assert list(source.propose(query(history=np.array([2, 3, 4], np.int32)), k=5)[0]) == [1]
    mixed = np.array([2, 3, 4, 45], np.int32)
    assert source.propose(query(history=mixed), k=5)[0][-1] == 51


def feedback(rows: list[dict]) -> pa.Table:
    full = [{"feedback_id": str(n), "user_id": "u", "session_id": "v", **row} for n, row in enumerate(rows)]
    return conform(pa.Table.from_pylist(full), FEEDBACK, where="test")


def test_interactions_stop_before_until_and_know_only_the_catalogue():
    table = feedback(
        [
            {"event": "order", "item_id": "b", "time": 1},
            {"event": "click", "item_id": "a", "time": 2},
            {"event": "order", "item_id": "unlisted", "time": 2},
            {"event": "impression", "item_id": "a", "time": 2},
            {"event": "order", "item_id": "a", "time": 3},
        ]
    )
    events = interactions(table, item_ids=pa.array(["a", "b"]), until=3)
    assert events.item.tolist() == [1, 0]
    np.testing.assert_allclose(events.weight, [1.0, 0.2])
    assert (events.time < 3).all()
