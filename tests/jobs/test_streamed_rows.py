"""Rankers of a run whose rows lie in files: what they learn is what they learn from memory, by one process or two."""

import json
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
from click.testing import CliRunner

from jobs.cli import cli
from jobs.prepare import prepare
from jobs.run_folder import RunFolder
from jobs.streamed_rows import ABOUT, FOLDER, ROWS, encoder_hash
from jobs.train_ranker import held_out
from marketplace.parquet.days import write_whole
from value_model.rankers.batches import take
from value_model.rankers.row_files import REQUEST, rows_table

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run")]


def learned(run, *options):
    """Losses by epoch of `train-ranker`, and what is predicted of the test period."""
    answer = CliRunner().invoke(cli, ["train-ranker", str(run.path), *options])
    assert answer.exit_code == 0, answer.output + repr(answer.exception)
    losses = json.loads((run.path / "ranker" / "losses.json").read_text())["losses"]
    return losses, held_out(run, "lightgbm"), answer.output


@pytest.fixture(scope="module")
def in_memory(run_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("in_memory") / "run"
    shutil.copytree(run_folder, folder, symlinks=True)
    return RunFolder.open(folder), *learned(RunFolder.open(folder))[:2]


@pytest.fixture(scope="module")
def in_files(in_memory, tmp_path_factory):
    """A copy whose rows lie in files, later requests in another order."""
    folder = tmp_path_factory.mktemp("in_files") / "run"
    shutil.copytree(in_memory[0].path, folder, symlinks=True)
    run, prepared = RunFolder.open(folder), prepare(in_memory[0])
    early = np.flatnonzero(prepared.period.train)
    late = np.random.default_rng(0).permutation(np.flatnonzero(~prepared.period.train))
    for day, requests in ((1, early), (2, late)):
        data = take(prepared.data, requests, offsets=prepared.offsets)
        rows = rows_table(data, prepared.slates.select(REQUEST).take(requests))
        target = folder / FOLDER / ROWS / f"day={datetime(2026, 1, day, tzinfo=UTC):%Y-%m-%d}" / f"{ROWS}-1.parquet"
        write_whole(rows, target, group=100)
    about = {"encoder": encoder_hash(folder), "labels": list(prepared.data.labels)}
    about |= {"validation_from": prepared.period.validation_from, "test_from": prepared.period.test_from}
    (folder / FOLDER / ABOUT).write_text(json.dumps(about))
    return run


def assert_as_good(losses, others):
    """Of events: 171 amounts tell too little."""
    kept, other = (history["held_out"][history["best"]] for history in (losses, others))
    for head in ("ctr", "cvr", "ctcvr", "cart"):
        assert kept[head] == pytest.approx(other[head], abs=0.03), head


def test_trees_are_those_of_memory_and_the_network_is_as_good(in_memory, in_files):
    _, losses, trees = in_memory
    streamed, of_files, output = learned(in_files)
    assert "network: streams" in output
    for head, values in trees.items():
        np.testing.assert_array_equal(of_files[head], values, err_msg=head)
    assert_as_good(streamed, losses)
    answer = CliRunner().invoke(cli, ["evaluate", str(in_files.path)])
    assert answer.exit_code == 0, answer.output


def test_two_workers_fit_what_one_does(in_memory, in_files):
    assert_as_good(learned(in_files, "--workers", "2")[0], in_memory[1])


def test_workers_without_files_are_refused(in_memory):
    answer = CliRunner().invoke(cli, ["train-ranker", str(in_memory[0].path), "--workers", "2"])
    assert "spark training-rows" in str(answer.exception)
