"""Decisions on a running experiment: on to a step of its ramp, or to stop a variant; each with reason and numbers.

They lie in NAME.decisions.json beside the experiment's file, oldest first; a whole new file takes the place of the old
one, so that a reader never sees half of it. Services follow the file, whoever wrote it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from marketplace.finding import DataError, Finding, Where

SUFFIX = ".decisions.json"
LARGEST = 10_000_000  # bytes of a file


class DecisionKind(StrEnum):
    """RAMP = on to a step; STOP = a variant's units go back to what is in force, for good."""

    RAMP = "ramp"
    STOP = "stop"


@dataclass(frozen=True)
class ExperimentDecision:
    """What was decided at `time`, by whom (`by`: "watch", or a person) and why; `numbers` are what it rests on.

    `version`: the experiment's when it was decided. A number that could not be computed is None, never 0.
    """

    kind: DecisionKind
    time: AwareDatetime
    by: str
    reason: str
    version: str
    step: Annotated[int, Field(ge=0, le=100)] = 0  # of the ramp, from 0
    variants: tuple[str, ...] = ()  # that are stopped
    numbers: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ExperimentState:
    """Where an experiment stands: the ramp's step, the decision that stopped each variant, and when the step began."""

    step: int = 0
    stopped: Mapping[str, ExperimentDecision] = field(default_factory=dict)
    since: datetime | None = None  # None = the step began with the experiment

    @property
    def reasons(self) -> dict[str, str]:
        """Why each of the stopped was."""
        return {variant: decision.reason for variant, decision in self.stopped.items()}

    @property
    def stops(self) -> dict[str, datetime]:
        """When each of the stopped was."""
        return {variant: decision.time for variant, decision in self.stopped.items()}


def state_after(decisions: Sequence[ExperimentDecision]) -> ExperimentState:
    """What the decisions amount to."""
    step, since = 0, None
    stopped: dict[str, ExperimentDecision] = {}
    for decision in decisions:
        if decision.kind is DecisionKind.RAMP:
            step, since = decision.step, decision.time
        for variant in decision.variants:
            stopped.setdefault(variant, decision)
    return ExperimentState(step, stopped, since)


def decisions_file(folder: Path, name: str) -> Path:
    return folder / f"{name}{SUFFIX}"


def read_decisions(path: Path) -> tuple[ExperimentDecision, ...]:
    """Of a file, oldest first; none where it is absent. Raises DataError where it cannot be read."""
    try:
        content = path.read_bytes()[:LARGEST]
    except FileNotFoundError:
        return ()
    try:
        return TypeAdapter(tuple[ExperimentDecision, ...]).validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        fix = "Mend it; until then services keep to what they last read of it."
        finding = Finding("decisions", Where(str(path)), f"{where} cannot be read: {problem['msg']}.", fix)
        raise DataError([finding]) from error


def add_decision(folder: Path, name: str, decision: ExperimentDecision) -> None:
    """Put it on record: from then on services follow it. Hold `locked` where it rests on what was read before."""
    path = decisions_file(folder, name)
    decisions = [*read_decisions(path), decision]
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        json.dump([asdict(one) for one in decisions], file, indent=1, ensure_ascii=False, default=_text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone with the folder's decisions, of all processes."""
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
