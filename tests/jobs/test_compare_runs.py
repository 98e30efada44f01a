"""Runs side by side: names, what cannot be compared, and differences that are paired."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from jobs.cli import cli
from jobs.compare_runs import JudgedRun, names_of, recall_of
from jobs.run_folder import RunFolder
from jobs.run_rankers import choice_of

pytestmark = pytest.mark.xdist_group("run")  # one process makes the run


def test_runs_are_named_by_what_tells_them_apart(tmp_path):
    assert names_of([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert names_of([tmp_path / "a" / "run", tmp_path / "b" / "run"]) == ["a/run", "b/run"]
    with pytest.raises(ValueError, match="two different runs"):
        names_of([tmp_path / "a", tmp_path / "x" / ".." / "a"])


@pytest.fixture(scope="module")
def other_run(run_folder, tmp_path_factory) -> Path:
    """A copy that served noise and other towers."""
    folder = tmp_path_factory.mktemp("other") / "noise"
    shutil.copytree(run_folder, folder, ignore=shutil.ignore_patterns("bundle*", "log*", "versions"))
    run = RunFolder.open(folder)
    path = folder / "ranker" / f"held_out_{choice_of(run).served}.npz"
    with np.load(path) as heads:
        noise = {name: np.random.default_rng(1).permutation(values) for name, values in heads.items()}
    np.savez(path, allow_pickle=False, **noise)
    settings = run.path / "run.json"
    settings.write_text(settings.read_text().replace('"leaves": 31', '"leaves": 7'))
    return folder


@pytest.mark.slow
def test_two_runs_are_compared_on_the_same_requests(run_folder, other_run, tmp_path):
    result = CliRunner().invoke(cli, ["compare", str(run_folder), str(other_run), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    line = next(line for line in result.output.splitlines() if "trees.leaves" in line)
    assert line.split()[1::2] == ["trees.leaves", "31", "7"]
    change = next(line for line in result.output.splitlines() if "ctr.auc" in line).split("│")[4]
    assert change.strip().startswith("-")
    assert change.strip().endswith("*")
    page = (tmp_path / "report.html").read_text()
    assert "trees.leaves" in page
    assert "small against noise" in page
    runs = {name: RunFolder.open(folder) for name, folder in (("small", run_folder), ("noise", other_run))}
    assert {row[3] for row in recall_of(runs)} == {"+0.0000 [+0.0000, +0.0000]"}


def test_other_requests_and_other_candidates_are_not_compared(run_folder):
    run = JudgedRun.of(RunFolder.open(run_folder), name="a")
    assert run.differs(run) == ""
    shorter = replace(run, name="b", slates=run.slates.slice(10))
    shared = f"{len(run.slates) - 10:,} are in both"
    assert shared in run.differs(shorter)
    items = run.slates.set_column(
        4, "item_id", run.slates["item_id"].combine_chunks().take(np.arange(len(run.slates))[::-1])
    )
    assert "other candidates" in run.differs(replace(run, slates=items))
