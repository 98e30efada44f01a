"""The command over a service's folder: put in force, followed by a live service, staged, rolled back, refused."""

import shutil
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from jobs.cli import cli
from marketplace.memory_log import MemoryLog
from serving.bundle import build_engine, load_bundle
from serving.bundle_service import BundleService, published_policy
from serving.manifest import BundleError, point_current
from serving.request import Request
from serving.service import LiveService
from value_model.formula import to_toml

EXPERIMENT = """
name = "trial"
hypothesis = "Sales are worth more."
owner = "growth"
start = {:%Y-%m-%dT%H:%M:%SZ}
days = 28
control = "in_force"
variants = [{{name = "in_force", share = 0.5}}, {{name = "default", share = 0.5, policy = "default"}}]
metrics = {{primary = "ctr", minimum_effect = 0.1}}
"""
WHO = ("--by", "growth", "--why", "Clicks pay less.")


@pytest.fixture
def folder(bundle_folder, tmp_path):
    """A service's folder without requests: bundles/1, and the link to it."""
    home = tmp_path / "service"
    shutil.copytree(bundle_folder, home / "bundles" / "1")
    point_current(home / "bundle", home / "bundles" / "1")
    return home


@pytest.fixture
def mine(bundle, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(bundle.policy.with_weights({"w_click": 0.2})))
    return path


def run(*words):
    return CliRunner().invoke(cli, ["publish", *map(str, words)])


def test_a_published_policy_is_what_a_running_service_serves(folder, mine, bundle):
    live = LiveService(
        folder / "bundle",
        build=lambda place: build_engine(load_bundle(place), log=MemoryLog()),
        every=0.0,
        run=lambda task: task(),
    )
    live.follow()
    start = live.current().parts.known_until
    before = live.current().rank(Request("r1", start, "home", "u1", k=5)).slate
    assert published_policy(folder) is None
    (folder / "experiments").mkdir()
    (folder / "experiments" / "trial.toml").write_text(EXPERIMENT.format(datetime.now(UTC) - timedelta(days=1)))
    result = run(mine, folder, *WHO)
    assert result.exit_code == 0, result.output
    assert "warning: the experiment trial runs until" in result.output
    assert "w_click 0.14 -> 0.2" in result.output
    live.follow()
    after = live.current().rank(Request("r2", start + timedelta(seconds=1), "home", "u1", k=5)).slate
    assert (before.weights["w_click"], after.weights["w_click"]) == (0.14, 0.2)
    assert after.policy_version == live.state.versions["policy"] == published_policy(folder).version
    assert run(folder, "--rollback", *WHO).exit_code == 0
    live.follow()
    assert live.state.versions["policy"] == bundle.policy.version
    assert [line.split()[2] for line in run(folder).output.splitlines()[2:]] == ["found", "published", "rolled"]


def test_a_trial_is_shown_and_ended(folder, mine, bundle):
    result = run(mine, folder, *WHO, "--share", "0.1")
    assert "staged to 10% of the shoppers" in result.output
    assert BundleService.of(folder).served().policy == bundle.policy
    assert load_bundle((folder / "bundle").resolve()).staged.weight["w_click"].value == 0.2
    run(folder, "--rollback", *WHO)
    assert BundleService.of(folder).served().trial is None


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--by", "growth"), "needs an owner and a reason"),
        (("--by", "finance", "--why", "More clicks."), "they must agree first: growth: w_click 0.14 -> 0.2"),
        ((*WHO, "--share", "1.5"), "the share is 1.5"),
    ],
)
def test_what_is_refused_changes_nothing(folder, mine, words, error):
    result = run(mine, folder, *words)
    assert result.exit_code != 0
    assert error in str(result.exception)
    assert (folder / "bundle").resolve().name == "1"
    assert sorted(place.name for place in (folder / "bundles").iterdir()) == ["1"]


def test_after_somebody_published_the_base_must_be_said_and_both_changes_are_kept(folder, mine, bundle, tmp_path):
    theirs = tmp_path / "theirs.toml"
    theirs.write_text(to_toml(bundle.policy.with_weights({"w_gmv": 0.06})))
    assert run(theirs, folder, "--by", "finance", "--why", "Margins rose.").exit_code == 0
    assert "say which version it was made from" in str(run(mine, folder, *WHO).exception)
    stale = run(mine, folder, *WHO, "--base", bundle.policy.version)
    assert "which your changes do not touch" in str(stale.exception)
    assert run(mine, folder, *WHO, "--base", "1", "--merge").exit_code == 0
    weights = {weight.name: weight.value for weight in BundleService.of(folder).served().policy.weights}
    assert (weights["w_click"], weights["w_gmv"]) == (0.2, 0.06)


def test_a_folder_without_a_link_is_refused_with_the_way_out(folder, mine):
    (folder / "bundle").unlink()
    with pytest.raises(BundleError, match="export one first"):
        BundleService.of(folder)
    shutil.copytree(folder / "bundles" / "1", folder / "bundle")
    assert "is a folder; what is published is followed through a link" in str(run(mine, folder, *WHO).exception)
