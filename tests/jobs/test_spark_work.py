"""What Spark does for a run has the numbers of one process: integers are equal, floats to 1e-9."""

import shutil

import numpy as np
import pytest

from features.backfill import backfill
from features.definitions import standard_spec
from features.spec import Kind
from jobs.data import market
from marketplace.splits import microseconds
from retrieval.sources.run_sources import RunSources

pytest.importorskip("pyspark", reason="pyspark is not installed (pip install value-model[spark])")

from features.backends.spark_backfill import SparkBackfill
from retrieval.sources.spark_pairs import SparkPairs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed (openjdk-17-jre-headless)"),
    pytest.mark.xdist_group("spark"),
]


@pytest.fixture(scope="module")
def dataset():
    return market("small", seed=3).dataset


@pytest.fixture(scope="module")
def folder(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    dataset.save(folder)
    return folder


def test_features_of_every_request_are_those_of_one_process(dataset, folder):
    spec = standard_spec(product_pages=True, sequence=True, against_list=True)
    ours = SparkBackfill(folder, "local[3]")(dataset, dataset.slates, spec=spec)
    theirs = backfill(dataset, dataset.slates, spec=spec)
    assert np.array_equal(ours.offsets, theirs.offsets)
    for feature in spec.features:
        one, other = (frame.columns[feature.name] for frame in (ours, theirs))
        if feature.kind is Kind.NUMBER:
            one, other = (column.to_numpy(zero_copy_only=False) for column in (one, other))
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=0, err_msg=feature.name)
        else:
            assert one.to_pylist() == other.to_pylist(), feature.name


def test_co_visits_and_what_they_propose_are_those_of_one_process(dataset, folder):
    times = microseconds(dataset.slates["time"])
    untils = [int(np.quantile(times, 0.6)), int(times.max()) + 1]
    sources = [
        next(
            source
            for source in RunSources(dataset, segment=dataset.segment, index=None, pairs_of=pairs_of)
            .advance(untils[0])
            .advance(untils[1])
            .sources
            if source.name == "covisits"
        )
        for pairs_of in (SparkPairs(folder, "local[3]"), None)
    ]
    ours, theirs = (source._pairs.sorted_indices() for source in sources)
    assert theirs.nnz > 1000
    assert np.array_equal(ours.indptr, theirs.indptr)
    assert np.array_equal(ours.indices, theirs.indices)
    np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-9)
