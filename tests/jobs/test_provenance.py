"""A run says of which commit it is, and how its fits went."""

import json
import subprocess
from dataclasses import dataclass, field

from jobs import provenance
from jobs.config import RunConfig
from jobs.provenance import commit, keep_losses
from jobs.run_folder import RunFolder


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_that_of_the_checkout_and_says_where_files_differ(tmp_path, monkeypatch):
    folder = tmp_path.resolve()
    monkeypatch.setattr(provenance, "SOURCES", folder)
    assert commit() is None
    git(folder, "init", "-q")
    (folder / "a").write_text("1")
    git(folder, "add", "a")
    git(folder, "commit", "-qm", "first")
    head = git(folder, "rev-parse", "HEAD")
    assert commit() == head
    (folder / "a").write_text("2")
    assert commit() == f"{head}+changes"
    (folder / "inside").mkdir()
    monkeypatch.setattr(provenance, "SOURCES", folder / "inside")
    assert commit() is None


def test_a_run_keeps_it(tmp_path):
    RunFolder.create(tmp_path / "run", RunConfig())
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["commit"] == commit()
    assert RunFolder.create(tmp_path / "run", RunConfig()).config == RunConfig()


@dataclass
class History:
    train: list = field(default_factory=lambda: [{"ctr": 0.5}])


def test_the_losses_of_a_fit_stand_beside_its_settings(tmp_path):
    keep_losses(tmp_path, History(), until=1, run=RunConfig())
    kept = json.loads((tmp_path / "losses.json").read_text())
    assert kept["losses"] == {"train": [{"ctr": 0.5}]}
    assert kept["settings"]["run"]["seed"] == 7
