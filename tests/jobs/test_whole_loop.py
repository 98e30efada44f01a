"""The whole loop on a small simulated market: every stage leaves what the next one and a person need."""

import json
import os
from dataclasses import replace
from pathlib import Path

import nbformat
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from nbclient import NotebookClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from features.keras2 import tensorflow as tf
from jobs.cli import cli
from jobs.data import kept
from jobs.demo import demo_requests
from jobs.run import run_all
from jobs.run_file import read_run
from jobs.run_folder import RunFolder, RunFolderError
from marketplace.sqlite_log import SqliteLog
from serving.client import FeedbackAnswer
from serving.manifest import read_manifest

pytestmark = pytest.mark.xdist_group("run")  # one process makes the run

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def test_every_stage_is_done_and_timed(run_folder):
    stages = RunFolder.open(run_folder).stages
    assert list(stages) == ["data", "retrieval", "ranker", "evaluation", "bundle"]
    assert all(row["seconds"] > 0 and row["peak_mb"] > 0 for row in stages.values())


def test_a_run_that_is_done_is_not_done_again(run_folder, capsys):
    before = (run_folder / "retrieval" / "two_tower.npz").stat().st_mtime_ns
    run_all(RunFolder.open(run_folder).config, run_folder)
    assert capsys.readouterr().out.count("done before, kept") == 5
    assert (run_folder / "retrieval" / "two_tower.npz").stat().st_mtime_ns == before


def test_another_configuration_is_refused_with_what_changed(run_folder):
    with pytest.raises(RunFolderError, match=r"seed 7 \(now 8\)"):
        run_all(replace(RunFolder.open(run_folder).config, seed=8), run_folder)


def test_a_finished_fit_leaves_no_checkpoint_that_would_keep_it_from_being_done_again(run_folder):
    assert not (run_folder / "ranker" / "checkpoint.npz").exists()
    assert not (run_folder / "retrieval" / "checkpoint.npz").exists()


def test_the_curves_of_each_fit_are_event_files(run_folder):
    for period, part in (("validation", "held_out"), ("train", "train")):
        losses = json.loads((run_folder / "ranker" / "losses.json").read_text())["losses"][part]
        events = EventAccumulator(str(run_folder / "tensorboard" / "ranker" / period)).Reload()
        for head in losses[0]:
            drawn = [tf.make_ndarray(point.tensor_proto).item() for point in events.Tensors(head)]
            assert drawn == pytest.approx([epoch[head] for epoch in losses])
    recall = json.loads((run_folder / "retrieval" / "losses.json").read_text())["losses"]["recall"]
    events = EventAccumulator(str(run_folder / "tensorboard" / "retrieval" / "validation")).Reload()
    assert len(events.Tensors("recall@100")) == len(recall)


def test_the_bundle_holds_the_settings_of_its_run(run_folder):
    assert read_run(run_folder / "bundle" / "run.toml") == RunFolder.open(run_folder).config
    facts = read_manifest(run_folder / "bundle" / "manifest.json").facts
    assert facts["settings"] == (
        "size=small, retrieval.epochs=2, ranker.expert_units=[32, 16], training.epochs=2, trees.trees=60, "
        "variety.shoppers=40"
    )


def test_the_report_judges_the_rankers_on_the_test_period(run_folder):
    metrics = json.loads((run_folder / "evaluation" / "metrics.json").read_text())
    assert {"network", "lightgbm", "popularity"} <= set(metrics)
    auc = metrics["network"]["ctr.auc"]
    assert auc["low"] < auc["value"] < auc["high"]
    assert (run_folder / "evaluation" / "report.html").stat().st_size > 10_000


def test_held_out_slates_are_of_the_test_period_and_carry_values(run_folder):
    slates = pq.read_table(run_folder / "evaluation" / "slates.parquet")
    everything = kept(run_folder).slates
    assert len(slates) < len(everything) / 3
    assert pc.min(slates["time"]).as_py() > everything["time"][len(everything) // 2].as_py()
    assert pc.min(pc.list_value_length(slates["value"])).as_py() > 0


def test_the_service_answers_logs_and_learns(run_folder):
    log = run_folder / "test_log.sqlite"
    answer, receipt = demo_requests(run_folder, log=log)
    terms = answer.items[0].contributions
    assert sum(terms.values()) == pytest.approx(answer.items[0].value, rel=1e-12)
    assert receipt == FeedbackAnswer(accepted=len(answer.items) + 2, duplicates=0, quarantined={})
    service_log = SqliteLog(log)
    assert service_log.slate(answer.request_id).user_id
    assert len(service_log.feedback()) == receipt.accepted
    service_log.close()
    rows = run_folder / "rows.parquet"
    result = CliRunner().invoke(cli, ["join-feedback", str(log), "--out", str(rows)])
    assert result.exit_code == 0, result.output
    assert pc.sum(pq.read_table(rows)["order"]).as_py() == 1


@pytest.mark.parametrize("surface", ["home", "search", "store_page", "product_page"])
def test_recommend_explains_a_slate_on_every_surface(run_folder, surface):
    result = CliRunner().invoke(cli, ["recommend", str(run_folder), "--surface", surface, "-k", "3"])
    assert result.exit_code == 0, result.output
    assert "= value" in result.output


def test_a_policy_is_tried_on_the_held_out_slates(run_folder, tmp_path):
    """A term that decides nothing can only be seen on real slates; a head's calibration only with their labels."""
    text = (run_folder / "bundle" / "policy.toml").read_text()
    policy = tmp_path / "policy.toml"
    policy.write_text(text.replace("value = 0.14", "value = 0.0001"))
    assert policy.read_text() != text
    alone = CliRunner().invoke(cli, ["check-policy", str(policy)])
    tried = CliRunner().invoke(cli, ["check-policy", str(policy), "--run", str(run_folder)])
    assert alone.exit_code == 0, alone.output
    assert "[negligible]" not in alone.output
    assert "[negligible]" in tried.output
    errors = [line for line in tried.output.splitlines() if ": error:" in line]
    assert all("[calibration]" in line for line in errors)
    assert tried.exit_code == bool(errors)


@pytest.mark.parametrize("notebook", ["1_one_request.ipynb", "2_tune_the_value.ipynb", "3_read_an_experiment.ipynb"])
def test_notebooks_run(run_folder, notebook, monkeypatch):
    monkeypatch.setitem(os.environ, "VALUE_MODEL_RUN", str(run_folder))
    book = nbformat.read(NOTEBOOKS / notebook, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "notebooks are committed without outputs"
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
