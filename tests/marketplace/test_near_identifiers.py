"""Identifiers that differ only in how they were written are named with what wrote them so."""

import pyarrow as pa
import pytest

from marketplace.datasets.cells import identifiers
from marketplace.near_identifiers import near_identifiers

CASES = [
    (["12.0", "7", "x"], ["12", "7"], [True, False, False], "12", "read as decimals"),
    (["12", "7"], ["12.0", "7.0"], [True, True], "12.0", "read as decimals"),
    (["7", "x"], ["007"], [True, False], "007", "leading zeros"),
    (["sku-A", None], ["SKU-a"], [True, False], "SKU-a", "case"),
    (["\uff21\uff11"], ["a1"], [True], "a1", "form"),
]


@pytest.mark.parametrize(("names", "known", "rows", "first", "cause"), CASES)
def test_the_likely_cause_is_named(names, known, rows, first, cause):
    near = near_identifiers(pa.array(names), pa.array(known))
    assert near.rows.tolist() == rows
    assert near.known == first
    assert cause in near.cause


def test_what_is_known_or_like_nothing_is_near_nothing():
    assert near_identifiers(pa.array(["1", "2", None]), pa.array(["1", "2.5", "b"])) is None
    assert near_identifiers(pa.array([], pa.string()), pa.array(["1"])) is None


def test_identifiers_are_compared_in_one_form_and_kept_composed():
    written = ["é", "e\u0301", " أحمر\u00a0", "ا\u0654حمر", "p1", "", None]
    assert identifiers(pa.array(written)).to_pylist() == ["é", "é", "أحمر", "أحمر", "p1", None, None]
