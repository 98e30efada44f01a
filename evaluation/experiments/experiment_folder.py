"""The folder of a run's or a service's experiments: NAME.toml, their policies, and what was decided on each.

A file that cannot be read, or conflicts with an experiment that was there first, is a fault: what was last read of it
stays, but for its decisions, which are followed all the same. Policies and recipes lie in folders within.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from evaluation.experiments.assignment import assign
from evaluation.experiments.conflicts import conflict
from evaluation.experiments.decisions import (
    DecisionKind,
    ExperimentDecision,
    ExperimentState,
    add_decision,
    decisions_file,
    locked,
    read_decisions,
    state_after,
)
from evaluation.experiments.experiment_file import Experiment, load_experiment
from marketplace.finding import DataError

T = TypeVar("T")

EXPERIMENTS = "experiments"  # the folder's name within a run


class Phase(StrEnum):
    """What an experiment does: WAITING for its start, RUNNING, STOPPED in all its changes, or ENDED with its time."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPED = "stopped"
    ENDED = "ended"


@dataclass(frozen=True)
class PlacedExperiment:
    """An experiment, its file, and where it stands."""

    file: Path
    experiment: Experiment
    state: ExperimentState

    @property
    def over(self) -> bool:
        """Whether every change is stopped."""
        return all(variant.name in self.state.stopped for variant in self.experiment.treatments)

    @property
    def step(self) -> int:
        """The ramp's, from 0."""
        return min(self.state.step, len(self.experiment.ramp.steps) - 1)

    def variant_of(self, unit: str) -> str | None:
        """A unit's variant now; None where it takes no part, or its variant was stopped."""
        index = int(assign(self.experiment, [unit], step=self.step)[0])
        name = self.experiment.variants[index].name
        return None if index < 0 or self.over or name in self.state.stopped else name

    def shares(self, now: datetime) -> dict[str, float]:
        """By variant, the share of the layer's part that it has now."""
        whole = self.experiment.exposure(self.step) if self.phase(now) is Phase.RUNNING else 0.0
        of = {one.name: one.share for one in self.experiment.variants if one.name not in self.state.stopped}
        return {one.name: whole * of.get(one.name, 0.0) for one in self.experiment.variants}

    def phase(self, now: datetime) -> Phase:
        if self.over:
            return Phase.STOPPED
        if now < self.experiment.start:
            return Phase.WAITING
        return Phase.RUNNING if now < self.experiment.end else Phase.ENDED


@dataclass(frozen=True)
class FolderContent:
    """Experiments that may run together, the first to start first; `faults` by file: what is wrong with the others."""

    experiments: tuple[PlacedExperiment, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> PlacedExperiment:
        """Raises KeyError."""
        for placed in self.experiments:
            if placed.experiment.name == name:
                return placed
        raise KeyError(name)


def read_folder(folder: Path, *, before: FolderContent | None = None) -> FolderContent:
    """What the folder holds; `before`: what it held, which stands in for files that cannot be read now."""
    known = {} if before is None else {placed.file: placed for placed in before.experiments}
    read: list[PlacedExperiment] = []
    faults: dict[str, str] = {}
    for file in sorted(folder.glob("*.toml")):
        last = known.get(file)
        experiment = _or_last(load_experiment, file, None if last is None else last.experiment, faults, of=file)
        if experiment is not None:
            decisions = decisions_file(folder, experiment.name)
            state = _or_last(state_of, decisions, None if last is None else last.state, faults, of=file)
            read += [] if state is None else [PlacedExperiment(file, experiment, state)]
    read.sort(key=lambda placed: (placed.file not in known, placed.experiment.start, placed.experiment.name))
    return FolderContent(tuple(_without_conflicts(read, faults)), faults)


def stop_variants(
    folder: Path, name: str, *, variant: str | None, owner: str, reason: str, now: datetime
) -> ExperimentDecision:
    """Return the units of a variant, None = of all that change something, to what is in force.

    Raises ValueError for an experiment or a variant that the folder does not hold, and without owner and reason.
    """
    known = {placed.experiment.name: placed.experiment for placed in read_folder(folder).experiments}
    if name not in known:
        raise ValueError(f"{folder} holds no experiment {name!r}; it holds {', '.join(known) or 'none'}.")
    if not owner.strip() or not reason.strip():
        raise ValueError("not stopped: say who stops it and why (--by and --why), for the record.")
    names = [treatment.name for treatment in known[name].treatments]
    if variant is not None and variant not in names:
        raise ValueError(f"{name!r} changes nothing in {variant!r}; its variants that do are {', '.join(names)}.")
    stopped = tuple(names) if variant is None else (variant,)
    with locked(folder):
        decision = ExperimentDecision(DecisionKind.STOP, now, owner, reason, known[name].version, variants=stopped)
        add_decision(folder, name, decision)
    return decision


def state_of(decisions: Path) -> ExperimentState:
    """Where the experiment of a file of decisions stands; raises DataError."""
    return state_after(read_decisions(decisions))


def _or_last(read: Callable[[Path], T], path: Path, last: T | None, faults: dict[str, str], *, of: Path) -> T | None:
    """What can be read of `path` now, or else what was read last; the fault `of` an experiment's file is noted."""
    try:
        return read(path)
    except (DataError, OSError) as error:
        faults[of.name] = str(error)
        return last


def _without_conflicts(read: Sequence[PlacedExperiment], faults: dict[str, str]) -> Iterator[PlacedExperiment]:
    admitted: list[PlacedExperiment] = []
    for placed in read:
        reasons = (_clash(placed, other) for other in admitted)
        if reason := next(filter(None, reasons), None):
            faults[placed.file.name] = f"{placed.file}: {reason}."
        else:
            admitted.append(placed)
            yield placed


def _clash(placed: PlacedExperiment, other: PlacedExperiment) -> str | None:
    """Why the second keeps the first out: what is over keeps its name alone."""
    same_name = placed.experiment.name == other.experiment.name
    return None if (placed.over or other.over) and not same_name else conflict(placed.experiment, other.experiment)
