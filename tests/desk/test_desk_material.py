"""A run on the desk: what its log is believed to tell, and a run that recorded no lists at all."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from desk.desk import Desk
from desk.versions import ChangeNote, VersionOrigin, Versions
from jobs.data import kept, market
from jobs.defaults import policy_of
from jobs.open_desk import material_of, open_desk
from jobs.run_evidence import evidence_of, labelled
from jobs.run_folder import RunFolder
from marketplace.schema import SLATE
from value_model.formula import shipped_policy
from value_model.policy_checks import logged_calibration
from value_model.tuning import Estimator

pytestmark = pytest.mark.xdist_group("run")


@pytest.fixture(scope="module")
def material(run_folder):
    return material_of(run_folder)


def test_the_simulated_log_counts_as_randomised(material):
    assert material.evidence.exposure is not None
    assert material.evidence.exposure.sum(axis=1) == pytest.approx(material.evidence.examination.sum(axis=1))
    assert Desk(material).view().prediction.estimator is Estimator.DR


def test_examination_is_near_the_markets_own(material):
    simulation = market("small", seed=7)
    names = simulation.dataset.slates["surface"].combine_chunks().dictionary.to_pylist()
    truth = simulation.examination(positions=10)
    for surface in material.evidence.slates.surfaces:
        rows = material.evidence.slates.surface == surface
        fitted = material.evidence.examination[rows].max(axis=0)[:10]
        expected = truth[names.index(surface)] / truth[names.index(surface)][0]
        assert np.abs(fitted - expected)[fitted > 0].mean() < 0.2


def test_names_are_those_of_the_slates(material, run_folder):
    slates = pq.read_table(run_folder / "evaluation" / "slates.parquet")
    row = [r.split(" · ")[-1] for r in material.names.titles].index(slates["request_id"][0].as_py())
    titles = dict(zip(*(kept(run_folder).items[c].to_pylist() for c in ("item_id", "name")), strict=True))
    expected = [titles[item] for item in slates["item_id"][0].as_py()]
    assert material.names.items[material.names.item[row]][: len(expected)].tolist() == expected


def test_heads_are_checked_on_all_requests_of_which_the_desk_draws_some(run_folder):
    slates, labels = (pq.read_table(run_folder / "evaluation" / f"{name}.parquet") for name in ("slates", "labels"))
    few = material_of(run_folder, most=50, searched=False)
    assert len(few.evidence) == 50
    assert few.calibration == logged_calibration(slates, labels)


def test_the_third_policy_published_may_read_other_columns_than_the_first(run_folder, tmp_path):
    for entry in ("run.json", "data", "evaluation"):
        (tmp_path / entry).symlink_to(run_folder / entry)
    default, clicks, powers = (shipped_policy(name) for name in ("default", "clicks", "funnel_power"))
    versions, now = Versions(tmp_path / "policies"), datetime(2025, 3, 1, tzinfo=UTC)
    for policy, kind in ((default, VersionOrigin.FOUND), (clicks, VersionOrigin.SAVED)):
        versions.add(policy, ChangeNote(kind, "ranking", "Try."), now=now)
    assert not set(default.inputs) <= {*clicks.inputs, *powers.inputs}
    desk = Desk(replace(material_of(tmp_path, also=powers, searched=False), policy=clicks))
    assert desk.baseline.version == default.version
    desk.check(powers)


def test_without_recorded_lists_the_heads_speak_alone(material, run_folder):
    run, dataset = RunFolder.open(run_folder), kept(run_folder)
    slates = pq.read_table(run_folder / "evaluation" / "slates.parquet")
    unseen = pa.array([[0] * len(row) for row in slates["position"].to_pylist()], SLATE.field("position").type)
    slates = slates.set_column(slates.column_names.index("position"), SLATE.field("position"), unseen)
    policy = policy_of(dataset, run.config)
    silent = replace(dataset, feedback=dataset.feedback.slice(0, 0))
    slates, labels = labelled(silent, slates)
    rng = np.random.default_rng(0)
    evidence, note = evidence_of(silent, slates, labels, policy, ranked_by=policy, rng=rng)
    assert "DCG" in note
    desk = Desk(replace(material, evidence=evidence, calibration=None))
    view = desk.move({"w_click": 0.9})
    assert view.prediction.estimator is Estimator.DIRECT
    assert view.prediction["ctr"].proposed.value > view.prediction["ctr"].now.value
    assert view.rank_changes.places > 0


def test_a_relative_run_is_found_from_where_the_server_started_and_from_the_notebooks_folder(
    run_folder, tmp_path, monkeypatch
):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "runs").symlink_to(run_folder.parent)
    named = {"VALUE_MODEL_RUN": f"runs/{run_folder.name}"}
    for cwd in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(cwd)
        assert open_desk(environment=named).material.name.startswith(run_folder.name)
    assert open_desk(environment={"VALUE_MODEL_RUN": str(run_folder)}).material.name.startswith(run_folder.name)
    with pytest.raises(FileNotFoundError, match=r"runs/gone holds no evaluated run.*value-model run --out"):
        open_desk(environment={"VALUE_MODEL_RUN": "runs/gone"})
