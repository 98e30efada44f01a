"""Look-ups by key: the same answer for plain and dictionary-encoded columns, in one chunk or several."""

import pyarrow as pa
import pytest

from marketplace.keys import rows_of, values_of

KEY = pa.array(["b", "a", "ü", "a"])
IDS = pa.array(["a", None, "ü", "unknown", "b"])
CODED = pa.chunked_array([IDS[:2].dictionary_encode(), IDS[2:].dictionary_encode()])


@pytest.mark.parametrize("key", [KEY, KEY.dictionary_encode(), pa.chunked_array([KEY[:1], KEY[1:]])], ids=type)
@pytest.mark.parametrize("ids", [IDS, IDS.dictionary_encode(), CODED, pa.chunked_array([IDS])], ids=type)
def test_the_first_row_of_each_id(ids, key):
    assert rows_of(ids, key).tolist() == [1, -1, 2, -1, 0]
    assert values_of(ids, key, pa.chunked_array([[10, 20, 30, 40]])).to_pylist() == [20, None, 30, None, 10]


def test_numbers_are_keys_too_and_nothing_is_found_in_nothing():
    assert rows_of(pa.array([3, 9]), pa.array([9, 3])).tolist() == [1, 0]
    assert rows_of(pa.array([], pa.string()), KEY).tolist() == []
    assert rows_of(IDS, pa.array([], pa.string())).tolist() == [-1] * 5
