"""Rows in files: read in groups, drawn, shared out among workers; each row once."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ranking_market import CLICKS, market

from marketplace.schema import TIME
from value_model.rankers.row_files import RowFiles, data_of, rows_table

ROWS = 8  # of a request


@pytest.fixture(scope="module")
def data():
    return market(np.random.default_rng(0), requests=50).data


@pytest.fixture(scope="module")
def files(data, tmp_path_factory):
    """50 requests, a second apart, in groups of 7 at most."""
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    columns = {name: pa.array([name] * 50) for name in ("request_id", "surface", "user_id")}
    times = pa.array(np.arange(50) * 1_000_000, TIME)
    pq.write_table(rows_table(data, pa.table(columns | {"time": times})), path, row_group_size=7)
    return RowFiles.of([path], labels=CLICKS, until=40_000_000)


def ages(batches):
    """The numbers of the requests, which tell them apart."""
    return np.sort(np.concatenate([batch.inputs.user_numbers[:, 0] for batch in batches]))


def test_rows_are_those_of_the_times_and_of_the_labels(data, files):
    read = data_of(files.table())
    np.testing.assert_array_equal(read.inputs.cross_numbers, data.inputs.cross_numbers[: 40 * ROWS])
    assert set(read.labels) == set(CLICKS)
    assert files.rows == 42 * ROWS  # whole groups


def test_a_sample_is_whole_groups_up_to_its_rows(files):
    drawn = files.sample(3 * 7 * ROWS + 1, rng=np.random.default_rng(0))
    assert len(drawn.groups) == 3
    assert drawn.rows == 3 * 7 * ROWS
    assert len(files.sample(1, rng=np.random.default_rng(0)).groups) == 1
    assert files.sample(10_000, rng=np.random.default_rng(0)) == files


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_take_equally_many_steps_and_every_request_once(data, files, workers):
    by_worker = [
        list(files.batches_of_worker(one, workers=workers, size=8, rng=np.random.default_rng(3)))
        for one in range(workers)
    ]
    assert len({len(batches) for batches in by_worker}) == 1
    assert max(len(batch.inputs.user_codes) for batches in by_worker for batch in batches) <= -(-8 // workers)
    read = ages(batch for batches in by_worker for batch in batches)
    np.testing.assert_array_equal(read, np.sort(data.inputs.user_numbers[:40, 0]))
