import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_slates import START, few, make_slate, slates

from marketplace.schema import SLATE, SchemaError
from marketplace.slate import Slate, slates_to_table, table_to_slates


@few
@given(st.lists(slates(), max_size=4))
def test_slates_survive_the_table(made):
    table = slates_to_table(made)
    assert table.schema.equals(SLATE, check_metadata=True)
    assert table_to_slates(table) == made


@few
@given(st.lists(slates(), min_size=2, max_size=4), st.data())
def test_slates_survive_cutting_and_joining_tables(made, data):
    cut = data.draw(st.integers(0, len(made)))
    table = slates_to_table(made)
    assert table_to_slates(table.slice(cut)) == made[cut:]
    joined = pa.concat_tables([slates_to_table(made[:cut]), slates_to_table(made[cut:])])
    assert table_to_slates(joined) == made


def test_a_slate_has_exactly_the_fields_of_the_schema():
    assert {f.name for f in dataclasses.fields(Slate)} == set(SLATE.names)


@pytest.mark.parametrize(
    "changes",
    [{"price": np.ones(2)}, {"predictions": {"ctr": np.ones(4)}}, {"numeric": {"age": np.ones(2, np.float32)}}],
)
def test_arrays_of_another_length_are_refused(changes):
    with pytest.raises(SchemaError, match="3 items, but"):
        make_slate("r", **changes)


def test_a_time_without_zone_is_refused():
    with pytest.raises(SchemaError, match="no time zone"):
        make_slate("r", time=START.replace(tzinfo=None))


@pytest.mark.parametrize(
    "changes",
    [{"user_id": "other"}, {"price": np.array([1.0, 2.0, 3.5])}, {"weights": {"gmv": 2.0}}, {"predictions": {}}],
)
def test_slates_differ_where_a_field_does(changes):
    assert make_slate("r") == make_slate("r")
    assert make_slate("r") != make_slate("r", **changes)
