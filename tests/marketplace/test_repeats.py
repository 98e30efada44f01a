"""One event is one event: repeats by id, likely repeats without one, and the list of an event that names none."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from made_slates import START, few, make_feedback, make_slate

from marketplace.attribution import AttributionWindows
from marketplace.repeats import likely_repeated, repeated
from marketplace.slate import slates_to_table, table_to_slates
from marketplace.unnamed_requests import latest_lists, with_requests

ROW = st.tuples(
    st.sampled_from(["f1", "f2", "f3"]),
    st.none(),
    st.sampled_from(["click", "order"]),
    st.sampled_from("abc"),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.sampled_from([None, 1.0, 2.0]),
)


@few
@given(st.lists(ROW, max_size=12))
def test_repeats_are_the_oracles(rows):
    feedback = make_feedback(*rows)
    ids, seconds, by_id, likely = set(), set(), [], []
    for row in feedback.to_pylist():
        same = tuple(row[name] for name in ("user_id", "item_id", "event", "request_id", "amount", "time"))
        likely.append(same in seconds)
        seconds.add(same)
    for _, name, row in sorted((row["time"], place, row) for place, row in enumerate(feedback.to_pylist())):
        by_id.append((name, row["feedback_id"] in ids))
        ids.add(row["feedback_id"])
    assert repeated(feedback).tolist() == [repeats for _, repeats in sorted(by_id)]
    whole = all(row[4] != 0.5 for row in rows)
    assert likely_repeated(feedback).tolist() == ([False] * len(rows) if whole else likely)


@st.composite
def logs(draw):
    made = []
    for r in range(draw(st.integers(1, 4))):
        items = tuple(draw(st.sampled_from(["ab", "bc", "a"])))
        position = np.array([draw(st.sampled_from([1, 0, 1])) for _ in items], np.int32)
        minutes = draw(st.sampled_from([0, 0, 5, 5000]))
        made.append(
            make_slate(f"r{r}", items=items, minutes=minutes, position=position, user_id=draw(st.sampled_from("uv")))
        )
    row = st.tuples(
        st.just("f"),
        st.none(),
        st.sampled_from(["click", "order"]),
        st.sampled_from("abcd"),
        st.sampled_from([-1, 0, 4, 6, 1445, 5000, 20_000]),
        st.none(),
    )
    return slates_to_table(made), make_feedback(*draw(st.lists(row, max_size=8)))


@few
@given(logs())
def test_an_event_without_request_joins_its_shoppers_latest_list_of_the_item(log):
    slates, feedback = log
    windows = {"click": AttributionWindows().click, "order": AttributionWindows().order}
    rows = latest_lists(slates, feedback).tolist()
    made = table_to_slates(slates)
    for event, row in zip(feedback.to_pylist(), rows, strict=True):
        lists = [
            slate.time
            for slate in made
            if slate.user_id == event["user_id"]
            and event["item_id"] in slate.item_id[slate.position > 0]
            and slate.time <= event["time"] < slate.time + windows[event["event"]]
        ]
        assert (made[row].time if row >= 0 else None) == max(lists, default=None)
        assert row < 0 or event["item_id"] in made[row].item_id[made[row].position > 0]


def test_beside_events_that_name_their_request_the_others_answer_none():
    slates = slates_to_table([make_slate("r")])
    mixed = make_feedback(("f1", "r", "click", "a", 1, None), ("f2", None, "click", "b", 1, None))
    assert with_requests(slates, mixed) == (mixed, 0)
    bare = mixed.set_column(1, mixed.schema.field("request_id"), pa.nulls(2, pa.string()))
    table, joined = with_requests(slates, bare)
    assert (table["request_id"].to_pylist(), joined) == (["r", "r"], 2)
    assert START + timedelta(minutes=1) == table["time"][0].as_py()
