import json
import os
import re
import shutil

import pytest

from serving.config import ServingConfig
from serving.manifest import BundleError, content_hash, open_manifest, point_current, seal, written_whole


@pytest.fixture
def sealed(tmp_path):
    folder = tmp_path / "bundle"
    with written_whole(folder) as draft:
        (draft / "ranker").mkdir()
        (draft / "ranker" / "heads.onnx").write_bytes(b"weights")
        (draft / "policy.toml").write_text("a = 1\n")
        seal(draft, versions={"ranker": "r"}, facts={"items": 3})
    return folder


def test_what_was_sealed_opens_and_moves(sealed, tmp_path):
    first = open_manifest(sealed)
    moved = shutil.move(sealed, tmp_path / "elsewhere")
    assert open_manifest(moved) == first
    assert first.facts == {"items": 3}


def test_a_changed_file_is_named_with_both_hashes(sealed):
    (sealed / "ranker" / "heads.onnx").write_bytes(b"weightz")
    with pytest.raises(BundleError, match=r"ranker/heads.onnx was changed.*expected sha256 \w{12}, found \w{12}"):
        open_manifest(sealed)


def test_a_missing_and_an_extra_file_are_named(sealed):
    (sealed / "policy.toml").rename(sealed / "policy2.toml")
    with pytest.raises(BundleError, match=r"incomplete: \['policy.toml'\]"):
        open_manifest(sealed)
    (sealed / "policy.toml").write_text("a = 1\n")
    with pytest.raises(BundleError, match=r"does not list: \['policy2.toml'\]"):
        open_manifest(sealed)


def test_a_folder_without_or_with_a_broken_manifest_says_what_to_do(sealed, tmp_path):
    with pytest.raises(BundleError, match="not a bundle"):
        open_manifest(tmp_path)
    (sealed / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        open_manifest(sealed)


def rewritten(folder, **changes):
    """The manifest as somebody would change it by hand."""
    entries = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(entries | changes))


@pytest.mark.parametrize("changes", [{"versions": {"ranker": "s"}}, {"facts": {"items": 4}}, {"sha256": ""}])
def test_versions_and_facts_are_under_the_hash(sealed, changes):
    rewritten(sealed, **changes)
    with pytest.raises(BundleError, match=r"manifest.json was changed after the export"):
        open_manifest(sealed)


@pytest.mark.parametrize("name", ["index/scann/scann_docids.pkl", "ranker/model.pt", "hook.py", "ranker/extra", "a.so"])
def test_a_file_that_a_loader_could_run_is_refused_even_where_the_hashes_fit(sealed, name):
    (sealed / name).parent.mkdir(parents=True, exist_ok=True)
    (sealed / name).write_bytes(b"cos\nsystem\n")
    (sealed / "manifest.json").unlink()
    seal(sealed, versions={}, facts={})
    with pytest.raises(BundleError, match=f"{name} is of no kind that a bundle holds"):
        open_manifest(sealed)


@pytest.mark.parametrize("folder", [False, True])
def test_a_link_that_leads_out_of_the_bundle_is_refused(sealed, tmp_path, folder):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "policy.toml").write_text("a = 2\n")
    (sealed / "policy.toml").unlink()
    target = tmp_path / "outside" if folder else tmp_path / "outside" / "policy.toml"
    (sealed / ("more" if folder else "policy.toml")).symlink_to(target)
    (sealed / "manifest.json").unlink()
    seal(sealed, versions={}, facts={})
    with pytest.raises(BundleError, match=r"leads out of it, to .*outside"):
        open_manifest(sealed)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ('{"candidates": 0}', "candidates is 0: Input should be greater than or equal to 1"),
        ('{"candidates": "500"}', "candidates is '500': Input should be a valid integer"),
        ('{"candidates": true}', "candidates is True: Input should be a valid integer"),
        ('{"shortlist": -5}', "shortlist is -5"),
        ('{"follow_seconds": NaN}', "follow_seconds is nan"),
        ('{"cached_items": 1e30}', "cached_items is 1e"),
        ('{"speed": 11}', "speed is 11: Unexpected"),
        ("[]", "the file is"),
    ],
)
def test_settings_are_typed_and_bounded(settings, problem):
    with pytest.raises(BundleError, match=f"settings.json: {re.escape(problem)}"):
        ServingConfig.from_json(settings, where="settings.json")
    assert ServingConfig.from_json(ServingConfig(candidates=60).to_json(), where="") == ServingConfig(candidates=60)


def test_a_failed_write_leaves_nothing_and_nothing_is_overwritten(tmp_path, sealed):
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "new") as draft:
        (draft / "no folder" / "half").write_text("")
    assert sorted(os.listdir(tmp_path)) == ["bundle"]
    with pytest.raises(BundleError, match="exists already"), written_whole(sealed):
        pass


def test_a_content_hash_is_of_the_content_alone(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "x").write_text("1")
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b")
    (tmp_path / "b" / "deep" / "x").write_text("2")
    assert content_hash(tmp_path / "a") != content_hash(tmp_path / "b")
    (tmp_path / "a" / "deep" / "x").rename(tmp_path / "a" / "deep" / "y")
    (tmp_path / "b" / "deep" / "x").write_text("1")
    assert content_hash(tmp_path / "a") != content_hash(tmp_path / "b")


def test_the_pointer_moves_in_one_step(tmp_path, sealed):
    pointer = tmp_path / "current"
    point_current(pointer, sealed)
    assert pointer.resolve() == sealed
    other = tmp_path / "other"
    shutil.copytree(sealed, other)
    point_current(pointer, other)
    assert pointer.resolve() == other
