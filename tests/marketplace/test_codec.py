import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_slates import feedback_tables, few, make_feedback, make_slate, same_rows, slates

from marketplace import codec
from marketplace.schema import FEEDBACK, SCHEMA_VERSION, SLATE, SchemaError
from marketplace.slate import slates_to_table

several = st.lists(slates(), max_size=4).map(slates_to_table)


@few
@given(several)
def test_slates_survive_json(table):
    assert same_rows(codec.json_to_slates(codec.slates_to_json(table)), table)


@few
@given(feedback_tables)
def test_feedback_survives_json(table):
    assert same_rows(codec.json_to_feedback(codec.feedback_to_json(table)), table)


@few
@given(table=several)
def test_slates_survive_parquet(tmp_path, table):
    codec.write_parquet(table, tmp_path / "slates.parquet", SLATE)
    assert same_rows(codec.read_parquet(tmp_path / "slates.parquet", SLATE), table)


@few
@given(table=feedback_tables)
def test_feedback_survives_parquet(tmp_path, table):
    codec.write_parquet(table, tmp_path / "feedback.parquet", FEEDBACK)
    assert same_rows(codec.read_parquet(tmp_path / "feedback.parquet", FEEDBACK), table)


def test_json_writes_what_json_has_no_number_for_as_words():
    slate = make_slate("r", price=np.array([np.nan, np.inf, -np.inf]), query="هاتف", weights={"gmv": np.inf})
    cells = orjson.loads(codec.slates_to_json(slates_to_table([slate])))
    assert cells["price"] == ["NaN", "Infinity", "-Infinity"]
    assert cells["weights"] == {"gmv": "Infinity"}
    assert cells["query"] == "هاتف"
    assert cells["time"] == "2026-03-01T12:00:00.000000+00:00"
    assert cells["schema_version"] == SCHEMA_VERSION


def _line(**changes) -> bytes:
    cells = orjson.loads(codec.slates_to_json(slates_to_table([make_slate("r")])))
    return orjson.dumps({name: cell for name, cell in (cells | changes).items() if cell != "drop"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "slates line 2 is not JSON"),
        (b"[1]", "slates line 2 is a list"),
        (_line(schema_version=99), "schema version 99; this program reads version 1"),
        (_line(schema_version="drop"), "schema version none"),
        (_line(user_id="drop"), r"missing fields \['user_id'\]"),
        (_line(colour="red"), r"unknown fields \['colour'\]"),
        (_line(price=["cheap", 1, 2]), "slates line 2: 'cheap'"),
        (_line(time="yesterday"), "slates line 2: Invalid isoformat"),
        (_line(time="2026-03-01T12:00:00"), "no time zone"),
        (_line(price=[1.0]), "3 items, but"),
    ],
)
def test_a_bad_line_is_named(line, message):
    with pytest.raises(SchemaError, match=message):
        codec.json_to_slates(_line() + b"\n" + line)


def test_a_bad_feedback_line_is_named():
    good = codec.feedback_to_json(make_feedback(("f", "r", "click", "a", 0, None)))
    with pytest.raises(SchemaError, match="feedback line 2"):
        codec.json_to_feedback(good + good.replace(b"2026-03-01T12:00:00.000000+00:00", b"2026-03-01"))


def test_a_file_of_another_version_or_kind_is_refused(tmp_path):
    path = tmp_path / "slates.parquet"
    codec.write_parquet(slates_to_table([make_slate("r")]), path, SLATE)
    old = codec.read_parquet(path, SLATE).replace_schema_metadata({"schema_version": "0"})
    pa.parquet.write_table(old, path)
    with pytest.raises(SchemaError, match="schema version 0; this program reads version 1"):
        codec.read_parquet(path, SLATE)
    path.write_bytes(b"not parquet")
    with pytest.raises(SchemaError, match="cannot be read as Parquet"):
        codec.read_parquet(path, SLATE)
