"""What was served comes back from the log exactly, through a table and through one request's arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feature_market import random_market
from frames import select_requests

from features.backfill import backfill
from features.definitions import standard_spec
from features.served import NotServed, arrays, attach, served, together
from features.spec import FeatureSpec
from marketplace.schema import SLATE
from marketplace.slate import slates_to_table, table_to_slates

SPEC = standard_spec(sequence=True)


def same_bits(frame, other):
    for name, column in frame.columns.items():
        theirs = other.columns[name]
        if pa.types.is_floating(column.type):
            np.testing.assert_array_equal(column.to_numpy().view(np.int32), theirs.to_numpy().view(np.int32), name)
        else:
            assert column.to_pylist() == theirs.to_pylist(), name


@pytest.mark.parametrize("seed", range(5))
def test_attached_features_come_back_bit_for_bit(seed, tmp_path):
    market = random_market(np.random.default_rng(seed))
    frame = backfill(market, market.slates, spec=SPEC)
    logged = attach(market.slates, frame)
    assert logged.schema.equals(SLATE)
    pq.write_table(logged, tmp_path / "slates.parquet")
    same_bits(frame, served(pq.read_table(tmp_path / "slates.parquet").cast(SLATE), SPEC))


def test_frames_of_some_requests_each_come_together_in_their_order(market):
    frame = backfill(market, market.slates, spec=SPEC)
    odd = np.arange(len(market.slates)) % 2 == 1
    parts = [select_requests(frame, requests) for requests in (~odd, odd)]
    both = together(parts, [np.flatnonzero(~odd), np.flatnonzero(odd)])
    np.testing.assert_array_equal(both.offsets, frame.offsets)
    same_bits(both, frame)


def test_one_request_logged_from_arrays_reads_the_same(market):
    frame = backfill(market, market.slates, spec=SPEC)
    slates = table_to_slates(market.slates)
    for r, slate in enumerate(slates):
        numeric, categorical = arrays(select_requests(frame, np.arange(len(slates)) == r))
        slates[r] = type(slate)(**(vars(slate) | {"numeric": numeric, "categorical": categorical}))
    same_bits(frame, served(slates_to_table(slates), SPEC))


def test_features_that_were_not_logged_are_an_error(market):
    with pytest.raises(NotServed, match="user_id"):
        served(market.slates, SPEC)


def test_a_frame_of_other_rows_is_refused(market):
    frame = backfill(market, market.slates.slice(1), spec=SPEC)
    with pytest.raises(ValueError, match="rows"):
        attach(market.slates, frame)


def test_no_slates_give_no_rows(market):
    assert len(served(market.slates.slice(0, 0), FeatureSpec(SPEC.features)).columns["price"]) == 0
