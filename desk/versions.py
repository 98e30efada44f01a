"""The versions of a policy: one TOML file each in a folder, and history.jsonl with who, when and why; only added to."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from value_model.formula import ValuePolicy, load_policy, to_toml

HISTORY = "history.jsonl"


class VersionOrigin(StrEnum):
    """How a version came to be; FOUND = it was in force when the first one was saved."""

    FOUND = "found"
    SAVED = "saved"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True)
class VersionRecord:
    """A line of the history: `number` counts from 1, `version` is the policy's content hash, `at` is ISO 8601 UTC."""

    number: int
    version: str
    file: str
    kind: VersionOrigin
    owner: str
    reason: str
    at: str
    noted: tuple[str, ...] = ()  # warnings and broken guardrails that the owner saw
    predicted: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ChangeNote:
    """What a person tells of a version."""

    kind: VersionOrigin
    owner: str
    reason: str
    noted: tuple[str, ...] = ()
    predicted: Mapping[str, str] = field(default_factory=dict)


class Versions:
    """The folder; it is made when the first version is saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entries(self) -> tuple[VersionRecord, ...]:
        """Oldest first."""
        path = self.folder / HISTORY
        if not path.exists():
            return ()
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        return tuple(
            VersionRecord(**{**row, "kind": VersionOrigin(row["kind"]), "noted": tuple(row["noted"])}) for row in rows
        )

    def policy(self, number: int) -> ValuePolicy:
        """The policy of one version; raises ValueError for a number that is not in the history."""
        for entry in self.entries():
            if entry.number == number:
                return load_policy(self.folder / entry.file)
        known = [entry.number for entry in self.entries()]
        raise ValueError(f"there is no version {number} in {self.folder}; there are {known}.")

    def latest(self) -> ValuePolicy | None:
        """The policy in force; None before the first version."""
        entries = self.entries()
        return self.policy(entries[-1].number) if entries else None

    def add(self, policy: ValuePolicy, note: ChangeNote, *, now: datetime) -> VersionRecord:
        """Write the file, check that it reads back as the same version, then the line in the history.

        Raises FileExistsError where somebody else saved a version with this number meanwhile.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        entries = self.entries()
        number = entries[-1].number + 1 if entries else 1
        entry = VersionRecord(
            number, policy.version, f"{number:04d}.toml", at=now.isoformat(timespec="seconds"), **vars(note)
        )
        path = self.folder / entry.file
        with path.open("x", encoding="utf-8") as file:
            file.write(to_toml(policy))
        assert load_policy(path).version == policy.version, f"{path} does not read back as it was written"
        with (self.folder / HISTORY).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
        return entry


def diff(old: ValuePolicy, new: ValuePolicy, *, names: tuple[str, str] = ("in force", "draft")) -> str:
    """The two policies' files, as a unified diff; empty where they are the same."""
    lines = difflib.unified_diff(
        to_toml(old).splitlines(), to_toml(new).splitlines(), fromfile=names[0], tofile=names[1], lineterm="", n=2
    )
    return "\n".join(lines)
