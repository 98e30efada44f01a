"""Versions of a policy: what is written is read back, numbers count on, nothing is overwritten."""

import errno
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from desk_toy import POLICY
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.versions import HISTORY, ChangeNote, DamagedHistory, VersionOrigin, Versions, diff
from value_model.formula import Override

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


def note(origin=VersionOrigin.SAVED, owner="Noura", reason="Try.", **others):
    return ChangeNote(origin, owner, reason, **others)


@settings(max_examples=25)
@given(owner=TEXT, reason=TEXT, noted=st.lists(TEXT, max_size=3), predicted=st.dictionaries(TEXT, TEXT, max_size=3))
def test_a_record_is_read_back_as_it_was_written(tmp_path_factory, owner, reason, noted, predicted):
    versions = Versions(tmp_path_factory.mktemp("versions") / "policies")
    written = versions.add(POLICY, note(owner=owner, reason=reason, noted=tuple(noted), predicted=predicted), now=NOW)
    assert versions.entries() == (written,)
    assert (written.owner, written.reason, written.noted, written.predicted) == (owner, reason, tuple(noted), predicted)


@pytest.mark.parametrize("origin", list(VersionOrigin))
def test_every_origin_is_read_back(tmp_path, origin):
    versions = Versions(tmp_path / "policies")
    versions.add(POLICY, note(origin), now=NOW)
    assert versions.entries()[0].kind is origin


def policies():
    overridden = replace(
        POLICY.weight["w_new"], surface=(Override("search", 0.2),), segment=(Override("new", 0.3, 40.0),)
    )
    weights = tuple(overridden if w.name == "w_new" else w for w in POLICY.weights)
    return [POLICY, POLICY.with_weights({"w_new": 0.0123456789}), replace(POLICY, weights=weights)]


def test_policies_are_read_back_number_by_number(tmp_path):
    versions = Versions(tmp_path / "policies")
    for i, policy in enumerate(policies()):
        entry = versions.add(policy, note(), now=NOW + timedelta(days=i))
        assert (entry.number, entry.file, entry.version) == (i + 1, f"{i + 1:04d}.toml", policy.version)
        assert versions.latest() == policy
    assert [versions.policy(i + 1) for i in range(3)] == policies()
    assert [entry.at[:10] for entry in versions.entries()] == ["2025-03-01", "2025-03-02", "2025-03-03"]


def test_before_the_first_version_there_is_nothing_and_no_folder(tmp_path):
    versions = Versions(tmp_path / "policies")
    assert (versions.entries(), versions.latest(), versions.folder.exists()) == ((), None, False)
    with pytest.raises(ValueError, match="there is no version 1"):
        versions.policy(1)


def test_a_file_whose_line_was_never_written_is_left_alone(tmp_path):
    versions = Versions(tmp_path / "policies")
    versions.add(POLICY, note(), now=NOW)
    (versions.folder / "0002.toml").write_text("theirs")
    assert versions.add(POLICY, note(), now=NOW).number == 3
    assert (versions.folder / "0002.toml").read_text() == "theirs"
    assert [entry.number for entry in versions.entries()] == [1, 3]


def test_a_line_of_an_older_history_is_read(tmp_path):
    versions = Versions(tmp_path / "policies")
    versions.add(POLICY, note(), now=NOW)
    row = json.loads((versions.folder / HISTORY).read_text())
    names = ("number", "version", "file", "kind", "owner", "reason", "at", "noted", "predicted")
    (versions.folder / HISTORY).write_text(json.dumps({name: row[name] for name in names}) + "\n")
    assert (versions.entries()[0].share, versions.entries()[0].base) == (1.0, "")
    (versions.folder / HISTORY).write_text('{"number": 1\n')
    with pytest.raises(DamagedHistory, match=r"line 1 of .* is no version"):
        versions.entries()


@pytest.mark.parametrize("begun", [b"", b'{"number": 2, "kind": "sav', b'{"number": 2, "owner": "\xd8'])
def test_a_line_that_a_dying_writer_began_is_no_line_and_is_written_over(tmp_path, begun):
    versions = Versions(tmp_path / "policies")
    first = versions.add(POLICY, note(), now=NOW)
    with (versions.folder / HISTORY).open("ab") as file:
        file.write(begun)
    assert versions.entries() == (first,)
    second = versions.add(POLICY, note(), now=NOW)
    assert versions.entries() == (first, second)


def test_a_last_line_that_a_person_left_without_its_end_counts(tmp_path):
    versions = Versions(tmp_path / "policies")
    first = versions.add(POLICY, note(), now=NOW)
    (versions.folder / HISTORY).write_bytes((versions.folder / HISTORY).read_bytes().rstrip())
    second = versions.add(POLICY, note(), now=NOW)
    assert versions.entries() == (first, second)


def test_a_disk_that_is_full_leaves_the_history_as_it_was(tmp_path, monkeypatch):
    versions = Versions(tmp_path / "policies")
    first = versions.add(POLICY, note(), now=NOW)
    before = (versions.folder / HISTORY).read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        versions.add(POLICY, note(), now=NOW)
    assert ((versions.folder / HISTORY).read_bytes(), versions.entries()) == (before, (first,))


def test_a_version_whose_file_is_gone_is_damage_and_says_which(tmp_path):
    versions = Versions(tmp_path / "policies")
    versions.add(POLICY, note(), now=NOW)
    (versions.folder / "0001.toml").unlink()
    with pytest.raises(DamagedHistory, match=r"version 1 of .*0001.toml"):
        versions.policy(1)


def test_the_history_is_only_added_to(tmp_path):
    versions = Versions(tmp_path / "policies")
    versions.add(POLICY, note(), now=NOW)
    before = (versions.folder / HISTORY).read_bytes()
    versions.add(POLICY, note(VersionOrigin.ROLLED_BACK), now=NOW)
    assert (versions.folder / HISTORY).read_bytes().startswith(before)


def test_a_diff_is_empty_only_between_equals():
    first, second, _ = policies()
    assert diff(first, first) == ""
    assert "-value = 0.05" in diff(first, second)
    assert "+value = 0.0123456789" in diff(first, second)
