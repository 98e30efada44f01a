"""The features of trivago's lists: no list reads its own order, nothing reads the future; fast ones equal slow ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from feature_market import random_market
from frames import select_requests
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import Catalogue
from features.earlier_lists import Lists, latest_position, past_positions, similar_lists
from features.trivago import trivago_frame, trivago_spec
from features.visits import Rows, co_visits, in_visit
from marketplace import slate_columns
from marketplace.datasets.trivago import read_trivago
from marketplace.splits import microseconds

DATA = Path(os.environ.get("VALUE_MODEL_DATA", Path(__file__).parents[3] / "shared" / "data"))
FILE = DATA / "trivago" / "trivago_val_100k.parquet"
needs_data = pytest.mark.skipif(not FILE.exists(), reason=f"needs the trivago log at {FILE} (set VALUE_MODEL_DATA)")


def lists_of(market):
    slates = market.slates
    item = Catalogue.of(market).rows(slate_columns.flat(slates, "item_id")).astype(np.int64)
    position = np.concatenate([np.arange(n) + 1.0 for n in np.diff(slate_columns.item_offsets(slates))])
    context = np.arange(len(slates)) % 2
    price = slate_columns.flat(slates, "price").to_numpy()
    return Lists(slate_columns.item_offsets(slates), microseconds(slates["time"]), context, item, position, price)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_earlier_positions_agree_with_a_loop(seed):
    lists = lists_of(random_market(np.random.default_rng(seed)))
    found = past_positions(lists, lists) | similar_lists(lists, lists, items=12)
    found["latest"] = latest_position(lists, lists, asked_key=lists.context, past_key=lists.context)
    sets = [set(lists.item[lists.of_row == r].tolist()) - {-1} for r in range(len(lists.time))]
    size = np.diff(lists.offsets)
    where = [
        dict(zip(lists.item[lists.of_row == r].tolist(), lists.position[lists.of_row == r], strict=True))
        for r in range(len(size))
    ]
    for row, (r, item) in enumerate(zip(lists.of_row, lists.item, strict=True)):
        past = [p for p in range(len(size)) if lists.time[p] < lists.time[r] and item >= 0 and item in where[p]]
        inverse = np.mean([1 / where[p][item] for p in past]) if past else np.nan
        assert found["past_inverse_position"][row] == pytest.approx(inverse, nan_ok=True)
        overlap = {p: len(sets[r] & sets[p]) / (size[r] + size[p] - len(sets[r] & sets[p])) for p in range(len(size))}
        weight = {p: overlap[p] ** 2 * (1 if lists.context[p] == lists.context[r] else 0.05) for p in past}
        mean = sum(w / where[p][item] for p, w in weight.items()) / sum(weight.values()) if past else np.nan
        assert found["similar_inverse_position"][row] == pytest.approx(mean, nan_ok=True)
        alike = [p for p in past if lists.context[p] == lists.context[r]]
        assert np.isnan(found["latest"][row]) == (not alike)
        if alike:
            newest = max(lists.time[p] for p in alike)
            assert found["latest"][row] in [where[p][item] for p in alike if lists.time[p] == newest]


ROW = st.tuples(st.integers(0, 2), st.integers(-1, 3), st.integers(0, 6))


@given(
    st.lists(ROW, max_size=25),
    st.lists(ROW, min_size=1, max_size=6),
    st.lists(st.integers(-1, 3), min_size=2, max_size=2),
)
def test_visits_agree_with_a_loop(touched, asked, history):
    touched = sorted(touched, key=lambda row: row[2])
    touches, rows = (Rows(*np.array(data, np.int64).reshape(-1, 3).T) for data in (touched, asked))
    found = in_visit(rows, touches, items=4)
    past = np.tile(np.array(history, np.int32), (len(asked), 1))
    together = co_visits(rows, touches, history=past, items=4)
    for q, (visit, item, now) in enumerate(asked):
        mine = [i for v, i, t in touched if v == visit and t < now]
        assert found["visit_touches"][q] == (mine.count(item) if item >= 0 else 0)
        expected = 0.0
        for h in history:
            if item < 0 or h < 0 or h == item:
                continue
            pairs = [(a, b) for v in range(3) for a, b in _together(touched, v, now)]
            expected += pairs.count((h, item)) / np.sqrt(max(sum(a == h for a, _ in pairs), 1))
        assert together[q] == pytest.approx(expected)


def _together(touched, visit, now):
    seen = {i for v, i, t in touched if v == visit and t < now and i >= 0}
    return [(a, b) for a in seen for b in seen if a != b]


@pytest.fixture(scope="module")
def dataset():
    return read_trivago(FILE)


def shuffled(slates, rng):
    """The same lists in another order of their rows; returns the permutation too."""
    request = slate_columns.request_of_rows(slates)
    order = np.lexsort((rng.random(len(request)), request))
    for name in ("item_id", "merchant_id", "price", "position"):
        values = slate_columns.flat(slates, name).take(pa.array(order))
        offsets = pa.array(slate_columns.item_offsets(slates), pa.int32())
        place = slates.column_names.index(name)
        slates = slates.set_column(place, slates.schema.field(name), pa.ListArray.from_arrays(offsets, values))
    return slates, order


def assert_equal_columns(frame, expected, order=None):
    for feature in expected.spec.features:
        ours, theirs = frame.columns[feature.name], expected.columns[feature.name]
        if order is not None and feature.group != "user":
            theirs = theirs.take(pa.array(order))
        if pa.types.is_floating(theirs.type):
            np.testing.assert_allclose(ours.to_numpy(), theirs.to_numpy(), rtol=1e-5, atol=1e-6, err_msg=feature.name)
        else:
            assert ours.to_pylist() == theirs.to_pylist(), feature.name


@needs_data
def test_features_for_an_unknown_order_do_not_depend_on_the_order(dataset, rng):
    some = dataset.slates.slice(5000, 800)
    mixed, order = shuffled(some, rng)
    frame = trivago_frame(dataset, some, position=False)
    assert_equal_columns(trivago_frame(dataset, mixed, position=False), frame, order)


@needs_data
def test_features_do_not_depend_on_what_comes_later(dataset):
    cut = dataset.slates["time"][5000].as_py()
    early = [time < cut for time in dataset.feedback["time"].to_pylist()]
    past = vars(dataset) | {
        "feedback": dataset.feedback.filter(pa.array(early)),
        "slates": dataset.slates.slice(0, 5000),
    }
    frame = trivago_frame(dataset, dataset.slates, position=True)
    first = select_requests(frame, np.arange(len(dataset.slates)) < 5000)
    earlier = trivago_frame(type(dataset)(**past), dataset.slates.slice(0, 5000), position=True)
    assert_equal_columns(earlier, first)


def test_only_one_specification_knows_positions():
    without, known = ({f.name for f in trivago_spec(position=p).features} for p in (False, True))
    assert known - without == {"position", "position_from_last", "position_of_last"}
