"""The reader gives the figures that were measured on the file, and its split and cuts are strict."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from marketplace.datasets.trivago import read_trivago
from marketplace.schema import FEEDBACK, ITEMS, SLATE
from marketplace.splits import microseconds, split

pytestmark = pytest.mark.xdist_group("trivago")  # one process makes what they share

DATA = Path(os.environ.get("VALUE_MODEL_DATA", Path(__file__).parents[3] / "shared" / "data"))
FILE = DATA / "trivago" / "trivago_val_100k.parquet"
needs_data = pytest.mark.skipif(not FILE.exists(), reason=f"needs the trivago log at {FILE} (set VALUE_MODEL_DATA)")


def labelled(dataset):
    """The slow, obvious join: one row an impression with position, click and order."""
    slates, feedback = dataset.slates.to_pandas(), dataset.feedback.to_pandas()
    rows = slates[["request_id", "item_id", "position"]].explode(["item_id", "position"])
    answers = feedback[feedback["request_id"].notna()]
    key = pd.MultiIndex.from_frame(rows[["request_id", "item_id"]])
    rows["order"] = key.isin(pd.MultiIndex.from_frame(answers.query("event == 'order'")[["request_id", "item_id"]]))
    rows["click"] = key.isin(pd.MultiIndex.from_frame(answers[["request_id", "item_id"]]))
    return rows


@pytest.fixture(scope="module")
def as_served():
    return read_trivago(FILE)


@needs_data
def test_views_impressions_and_rates_are_those_measured(as_served):
    rows = labelled(as_served)
    assert (len(as_served.slates), len(rows)) == (9424, 215_517)
    assert rows["click"].mean() == pytest.approx(0.0667, abs=5e-5)
    assert rows["order"].mean() == pytest.approx(0.0567, abs=5e-5)
    assert rows["order"].sum() / rows["click"].sum() == pytest.approx(0.850, abs=5e-4)
    by_position = rows.groupby("position")["click"].mean().loc[1:6]
    assert by_position.to_numpy() == pytest.approx([0.438, 0.160, 0.121, 0.094, 0.084, 0.070], abs=6e-4)


@needs_data
def test_tables_follow_the_schema_and_are_sorted_by_time(as_served):
    for table, schema in ((as_served.slates, SLATE), (as_served.feedback, FEEDBACK), (as_served.items, ITEMS)):
        assert table.schema.equals(schema, check_metadata=True)
    for table in (as_served.slates, as_served.feedback):
        assert (np.diff(microseconds(table["time"])) >= 0).all()
    assert pc.count_distinct(as_served.slates["request_id"]).as_py() == len(as_served.slates)
    assert pc.count_distinct(as_served.feedback["feedback_id"]).as_py() == len(as_served.feedback)


@needs_data
def test_the_last_fifth_of_views_is_test(as_served):
    halves = split(as_served.slates)
    assert (halves.train.sum(), halves.test.sum()) == (7539, 1885)
    time = microseconds(as_served.slates["time"])
    assert time[halves.train].max() < halves.cut <= time[halves.test].min()


@needs_data
def test_no_answer_precedes_its_view_and_an_item_is_sold_once(as_served):
    answers = as_served.feedback.to_pandas().dropna(subset="request_id")
    start = as_served.slates.to_pandas().set_index("request_id")["time"]
    assert (answers["time"] >= start.loc[answers["request_id"]].to_numpy()).all()
    orders = answers[answers["event"] == "order"]
    assert not orders.duplicated(["request_id", "item_id"]).any()
    assert orders["amount"].gt(0).all()


@needs_data
def test_next_clickout_lists_are_those_measured():
    dataset = read_trivago(FILE, protocol="next_clickout")
    halves = split(dataset.slates, of="impressions")
    assert (halves.train.sum(), halves.test.sum()) == (10_876, 2721)
    rows = labelled(dataset)
    assert len(rows) == 312_539
    assert rows.groupby("request_id")["order"].sum().max() == 1


def log(*actions):
    """A tiny log: (step, action, reference, list) of one session."""
    step, kind, reference, shown = zip(*actions, strict=True)
    return pa.table(
        {
            "user_id": ["u"] * len(step),
            "session_id": ["s"] * len(step),
            "timestamp": [1_541_599_523] * len(step),  # all within one second
            "step": step,
            "action_type": kind,
            "reference": reference,
            "platform": ["AE"] * len(step),
            "city": ["Dubai"] * len(step),
            "device": ["mobile"] * len(step),
            "current_filters": pa.nulls(len(step), pa.string()),
            "impressions": pa.array(shown, pa.string()),
            "prices": pa.array([s and "|".join("7" for _ in s.split("|")) for s in shown], pa.string()),
        }
    )


def test_a_view_starts_where_it_is_said_to(tmp_path):
    path = tmp_path / "log.parquet"
    actions = log(
        (1, "interaction item image", "11", None),
        (2, "clickout item", "12", "11|12"),
        (3, "clickout item", "12", "11|12"),  # unchanged list: the same view
        (4, "interaction item info", "13", None),  # another list comes next: a new view
        (5, "clickout item", "13", "13|14"),
        (6, "filter selection", "Hotel", None),
        (7, "clickout item", "13", "13|14"),  # the same list again, but after a filter
        (8, "interaction item image", "14", None),  # no clickout follows: in no view
    )
    pq.write_table(actions, path)
    dataset = read_trivago(path)
    assert dataset.slates["request_id"].to_pylist() == ["u/s/1", "u/s/4", "u/s/6"]
    answers = dataset.feedback.select(["request_id", "event", "item_id"]).to_pylist()
    assert [(row["request_id"], row["event"], row["item_id"]) for row in answers] == [
        ("u/s/1", "click", "11"),
        ("u/s/1", "order", "12"),
        ("u/s/1", "click", "12"),
        ("u/s/4", "click", "13"),
        ("u/s/4", "order", "13"),
        ("u/s/6", "order", "13"),
        (None, "click", "14"),
    ]
    opened = [dict(context)["opened_by"] for context in dataset.slates["context"].to_pylist()]
    assert opened == ["", "", "filter selection"]


def test_filters_that_sort_are_told_from_those_that_select(tmp_path):
    path = tmp_path / "log.parquet"
    actions = log(
        (1, "clickout item", "11", "11|12"), (2, "filter selection", "x", None), (3, "clickout item", "11", "11")
    )
    filters = pa.array([None, None, "Sort by Price|Hotel|Focus on Distance"], pa.string())
    pq.write_table(actions.set_column(actions.column_names.index("current_filters"), "current_filters", filters), path)
    context = [dict(row) for row in read_trivago(path).slates["context"].to_pylist()]
    assert [row["sort_filter"] for row in context] == ["", "Focus on Distance|Sort by Price"]


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"user_id": ["u"]}), path)
    with pytest.raises(ValueError, match="session_id"):
        read_trivago(path)
