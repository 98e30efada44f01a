import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_slates import few, make_slate, slates

from marketplace import slate_columns
from marketplace.schema import SLATE, empty
from marketplace.slate import ITEM_LISTS, slates_to_table

several = st.lists(slates(), max_size=4)


def regular(n: int) -> list:
    """Slates that all log the same features in the same order, as a service does."""
    return [
        make_slate(
            f"r{i}",
            items=tuple("abcde"[: 1 + i % 5]),
            numeric={"age": np.array([i], np.float32), "rank": np.arange(1 + i % 5, dtype=np.float32)},
            categorical={"history": np.array(["x"] * (i % 3), object)},
        )
        for i in range(n)
    ]


@few
@given(several, st.integers(0, 4))
def test_flat_columns_are_the_slates_columns_one_after_another(made, cut):
    table, kept = slates_to_table(made).slice(cut), made[cut:]
    assert slate_columns.item_offsets(table).tolist() == np.cumsum([0, *map(len, kept)]).tolist()
    assert slate_columns.request_of_rows(table).tolist() == [
        r for r, slate in enumerate(kept) for _ in range(len(slate))
    ]
    for name in ITEM_LISTS:
        expected = [value for slate in kept for value in getattr(slate, name).tolist()]
        assert repr(slate_columns.flat(table, name).to_pylist()) == repr(expected)


@few
@given(several, st.integers(0, 4))
def test_map_entries_are_found_whatever_each_request_logged(made, cut):
    _assert_maps(slates_to_table(made).slice(cut), made[cut:])


@pytest.mark.parametrize("cut", [0, 3])
def test_map_entries_are_found_where_all_requests_log_the_same(cut):
    made = regular(9)
    _assert_maps(slates_to_table(made).slice(cut), made[cut:])
    _assert_maps(pa.concat_tables([slates_to_table(made[:4]), slates_to_table(made[4:])]), made)


def _assert_maps(table, made):
    for column in ("numeric", "categorical", "predictions"):
        present = slate_columns.names(table, column)
        assert present == list(dict.fromkeys(name for slate in made for name in getattr(slate, column)))
        every = slate_columns.all_lists(table, column)
        for name in [*present, "none of them"]:
            expected = [getattr(slate, column).get(name, np.array([])).tolist() for slate in made]
            assert repr(_cells(slate_columns.lists(table, column, name))) == repr(expected)
            assert name not in every or repr(_cells(every[name])) == repr(expected)
        assert set(every) == set(present)
    for name in slate_columns.names(table, "context"):
        assert slate_columns.context(table, name).to_pylist() == [slate.context.get(name) for slate in made]
    for name in slate_columns.names(table, "weights"):
        expected = [slate.weights.get(name, np.nan) for slate in made]
        np.testing.assert_array_equal(slate_columns.weights(table, name), expected)


def _cells(entry: slate_columns.RequestLists) -> list:
    values = entry.values.to_pylist()
    return [values[a:b] for a, b in zip(entry.offsets, entry.offsets[1:], strict=False)]


def test_predictions_are_nan_where_a_request_lacks_the_head():
    made = [make_slate("r1"), make_slate("r2", predictions={"cvr": np.array([0.2, 0.3, 0.4])})]
    np.testing.assert_array_equal(
        slate_columns.predictions(slates_to_table(made), "cvr"), [np.nan, np.nan, np.nan, 0.2, 0.3, 0.4]
    )


@pytest.mark.parametrize("requests", [0, 1, 7])
def test_map_of_lists_undoes_all_lists(requests):
    table = slates_to_table(regular(requests))
    for column, kind in (("numeric", pa.float32()), ("categorical", pa.string())):
        made = slate_columns.map_of_lists(slate_columns.all_lists(table, column), requests=requests, values=kind)
        assert made.type == SLATE.field(column).type
        assert made.to_pylist() == table[column].to_pylist()


def test_a_table_without_rows_has_no_items():
    table = empty(SLATE)
    assert slate_columns.item_offsets(table).tolist() == [0]
    assert len(slate_columns.flat(table, "item_id")) == 0
    assert slate_columns.names(table, "numeric") == []
    assert len(slate_columns.numeric_features(table, "age").values) == 0
