"""Embeddings for other teams: the towers' own vectors, each under its name."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from features.encoder import Encoder
from jobs.cli import cli
from jobs.data import kept
from retrieval.labelled_requests import labelled_requests
from retrieval.two_tower import TwoTower

pytestmark = pytest.mark.xdist_group("run")  # one process makes the run


def expect_nearest(table, vectors, names, candidates, *, own):
    """All but ties are those of all products, computed one by one."""
    products = vectors @ candidates.T
    if own:
        np.fill_diagonal(products, -np.inf)
    best = np.sort(products, axis=1)[:, :-6:-1]
    np.testing.assert_allclose(np.stack(table["product"].to_numpy(zero_copy_only=False)), best, atol=1e-5)
    row = {name: row for row, name in enumerate(names)}
    found = np.array([[row[name] for name in line] for line in table["nearest"].to_pylist()])
    np.testing.assert_allclose(np.take_along_axis(products, found, axis=1), best, atol=1e-5)
    assert all(len(set(line)) == 5 for line in found.tolist())


def read(path):
    table = pq.read_table(path)
    vectors = np.stack(table["embedding"].to_numpy(zero_copy_only=False))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-3)
    return table, vectors


def test_a_run_is_embedded_as_its_towers_see_it(run_folder, tmp_path):
    done = CliRunner().invoke(
        cli, ["embed", str(run_folder), "--out", str(tmp_path), "--nearest", "5"], catch_exceptions=False
    )
    assert done.output.count(".parquet") == 4
    dataset, towers = kept(run_folder), TwoTower.load_towers(run_folder / "retrieval")
    encoder = Encoder.from_json((run_folder / "retrieval" / "encoder.json").read_text())
    labelled = labelled_requests(dataset, encoder.spec, segment=dataset.segment)
    inputs = encoder.encode(labelled.frame)
    requests = towers.embed_queries(inputs.user_codes, inputs.user_lists, inputs.user_numbers)

    items, vectors = read(tmp_path / "items.parquet")
    item_ids, of_items = items["item_id"].to_pylist(), vectors
    assert items["item_id"].to_pylist() == dataset.items["item_id"].to_pylist()
    np.testing.assert_array_equal(vectors, np.load(run_folder / "retrieval" / "index" / "embeddings.npy"))
    assert json.loads(items.schema.metadata[b"dimensions"]) == vectors.shape[1]

    expect_nearest(items, vectors, item_ids, of_items, own=True)

    sessions, vectors = read(tmp_path / "sessions.parquet")
    expect_nearest(sessions, vectors, item_ids, of_items, own=False)
    names = labelled.slates["session_id"].to_pylist()
    last = {name: row for row, name in enumerate(names) if name is not None}  # slates come by time
    assert set(sessions["session_id"].to_pylist()) == set(last)
    expected = requests[[last[name] for name in sessions["session_id"].to_pylist()]]
    np.testing.assert_allclose(vectors, expected, atol=1e-5)

    queries, vectors = read(tmp_path / "queries.parquet")
    expect_nearest(queries, vectors, item_ids, of_items, own=False)
    texts = np.array(labelled.slates["query"].to_pylist(), object)
    row = int(np.argmax(queries["requests"].to_numpy()))
    mean = requests[texts == queries["query"][row].as_py()].mean(axis=0)
    assert (texts == queries["query"][row].as_py()).sum() == queries["requests"][row].as_py()
    np.testing.assert_allclose(vectors[row], mean / np.linalg.norm(mean), atol=1e-5)

    shoppers, vectors = read(tmp_path / "shoppers.parquet")
    assert sorted(shoppers["user_id"].to_pylist()) == sorted(dataset.users["user_id"].to_pylist())
    expect_nearest(shoppers, vectors, shoppers["user_id"].to_pylist(), vectors, own=True)
