"""The versions of a policy: one TOML file each in a folder, and history.jsonl with who, when and why; only added to."""

from __future__ import annotations

import difflib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from value_model.formula import PolicyError, ValuePolicy, load_policy, to_toml

HISTORY, LOCK = "history.jsonl", ".lock"
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)  # what a line that is no version raises


class VersionOrigin(StrEnum):
    """How a version came to be; FOUND = it was in force when the first one was saved."""

    FOUND = "found"
    SAVED = "saved"  # no service stood beside the folder
    PUBLISHED = "published"
    STAGED = "staged"
    UNSTAGED = "unstaged"  # a trial ended, and this version stays in force
    ROLLED_BACK = "rolled back"
    ACTIVATED = "activated"  # it came with another bundle


class UnknownVersion(ValueError):
    """The history has no version of this number."""


class DamagedHistory(ValueError):
    """A line or a policy of the history cannot be read: says which, and what to do."""


@dataclass(frozen=True)
class ChangeNote:
    """What a person tells of a version, and under which conditions it was put in force.

    `base`: version that was in force before. `approved_by`: the other owners who agreed. `share` of the shoppers who
    see it. `reviewed`: its levels are accepted, and guardrails are held against it from now on. `bundle`: the one that
    was activated with it. `key`: name of the API key by which it came.
    """

    kind: VersionOrigin
    owner: str
    reason: str
    noted: tuple[str, ...] = ()  # warnings and broken guardrails that the owner saw
    predicted: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    approved_by: tuple[str, ...] = ()
    share: float = 1.0
    reviewed: bool = False
    bundle: str = ""
    key: str = ""


@dataclass(frozen=True)
class VersionRecord(ChangeNote):
    """A line of the history: `number` counts from 1, `version` is the policy's content hash, `at` is ISO 8601 UTC."""

    number: int = 0
    version: str = ""
    file: str = ""
    at: str = ""

    @classmethod
    def read(cls, line: str) -> VersionRecord:
        row = json.loads(line)
        lists = {name: tuple(row.get(name, ())) for name in ("noted", "approved_by")}
        return cls(**{**row, **lists, "kind": VersionOrigin(row["kind"])})


class Versions:
    """The folder; it is made when the first version is saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the folder, of all processes: what was read before `add` is still so when it writes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def entries(self) -> tuple[VersionRecord, ...]:
        """Oldest first; raises DamagedHistory for a line that cannot be read.

        What a writer that died began is no line yet: it is passed over, and the next `add` takes its place.
        """
        path = self.folder / HISTORY
        if not path.exists():
            return ()
        records = []
        for number, line in enumerate(_whole_lines(path.read_bytes()).splitlines(), 1):
            try:
                records += [VersionRecord.read(line.decode())] if line.strip() else []
            except UNREADABLE as error:
                raise DamagedHistory(
                    f"line {number} of {path} is no version ({error}). Mend or remove that line."
                ) from error
        return tuple(records)

    def policy(self, number: int) -> ValuePolicy:
        """The policy of one version; raises UnknownVersion for a number that is not in the history, DamagedHistory."""
        for entry in self.entries():
            if entry.number == number:
                try:
                    return load_policy(self.folder / entry.file)
                except (OSError, PolicyError) as error:
                    raise DamagedHistory(f"version {number} of {self.folder} cannot be read: {error}") from error
        known = [entry.number for entry in self.entries()]
        raise UnknownVersion(f"there is no version {number} in {self.folder}; there are {known}.")

    def of_version(self, version: str) -> ValuePolicy | None:
        """The policy with this content hash, None where the history has none."""
        numbers = [entry.number for entry in self.entries() if entry.version == version]
        return self.policy(numbers[-1]) if numbers else None

    def latest(self) -> ValuePolicy | None:
        """The policy of the last line that concerns every shopper; None before the first version."""
        entries = [entry for entry in self.entries() if entry.share == 1]
        return self.policy(entries[-1].number) if entries else None

    def baseline(self) -> ValuePolicy | None:
        """The policy that guardrails are held against: the last that was reviewed, or the one found first."""
        entries = [entry for entry in self.entries() if entry.reviewed or entry.kind is VersionOrigin.FOUND]
        return self.policy(entries[-1].number) if entries else None

    def before(self, version: str) -> int | None:
        """The number of the version that was in force before `version` was last published; None = unknown."""
        entries = self.entries()
        made = (VersionOrigin.PUBLISHED, VersionOrigin.SAVED, VersionOrigin.ACTIVATED)
        of_version = [entry for entry in entries if (entry.version, entry.share) == (version, 1) and entry.kind in made]
        bases = [entry.base for entry in of_version if entry.base != version]
        base = bases[-1] if bases else ""
        return next((entry.number for entry in reversed(entries) if entry.version == base), None)

    def add(self, policy: ValuePolicy, note: ChangeNote, *, now: datetime) -> VersionRecord:
        """Write the file, check that it reads back as the same version, then the line in the history.

        Raises FileExistsError where somebody else saved a version with this number meanwhile: hold `locked`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(path.stem) for path in self.folder.glob("[0-9]*.toml")), default=0)
        at = now.isoformat(timespec="seconds")
        entry = VersionRecord(**vars(note), number=number, version=policy.version, file=f"{number:04d}.toml", at=at)
        path = self.folder / entry.file
        with path.open("x", encoding="utf-8") as file:
            file.write(to_toml(policy))
        assert load_policy(path).version == policy.version, f"{path} does not read back as it was written"
        _append(self.folder / HISTORY, json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n")
        return entry


def _append(path: Path, line: bytes) -> None:
    """Write a line behind the whole ones, or nothing of it."""
    path.touch()
    with path.open("r+b") as file:
        before = _whole_lines(file.read())
        try:
            file.seek(len(before))
            file.write(line if not before or before.endswith(b"\n") else b"\n" + line)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, len(before))
            raise


def _whole_lines(content: bytes) -> bytes:
    """A history without the line that a writer began and did not end."""
    lines, newline, last = content.rpartition(b"\n")
    try:
        VersionRecord.read(last.decode())
    except UNREADABLE:
        return lines + newline
    return content


def diff(old: ValuePolicy, new: ValuePolicy, *, names: tuple[str, str] = ("in force", "draft")) -> str:
    """The two policies' files, as a unified diff; empty where they are the same."""
    lines = difflib.unified_diff(
        to_toml(old).splitlines(), to_toml(new).splitlines(), fromfile=names[0], tofile=names[1], lineterm="", n=2
    )
    return "\n".join(lines)
