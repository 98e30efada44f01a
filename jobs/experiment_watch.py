"""Watch the experiments of a run: read its log, decide by the ramp's rule, put the decisions on record, and say why.

What fails to be computed holds an experiment where it is, and is said; the others go on. Services follow the decisions.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from evaluation.experiments.decisions import add_decision, decisions_file, locked
from evaluation.experiments.experiment_folder import (
    EXPERIMENTS,
    FolderContent,
    Phase,
    PlacedExperiment,
    read_folder,
    state_of,
)
from evaluation.experiments.ramp import RampMove, ramp_move
from evaluation.experiments.reading import ExperimentReading, read_experiment
from evaluation.experiments.unit_table import BEFORE
from jobs.experiment_log import ExperimentLog
from marketplace.attribution import Attribution
from marketplace.log_place import Place, may_exist, shown_place

logger = logging.getLogger(__name__)


def _without_figures(sentence: str) -> str:
    """What is worth a new line: not that a bound has moved."""
    return re.sub(r"\d[\d.,]*", "#", sentence)


@dataclass(frozen=True)
class WatchedExperiment:
    """An experiment, what its log tells (None = nothing yet, or it failed), and its next move."""

    placed: PlacedExperiment
    reading: ExperimentReading | None
    move: RampMove


def watch(
    folder: Path,
    *,
    log: Place | None = None,
    every: float | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Watch the experiments of run `folder`, once, or again and again `every` so many seconds until a signal.

    The exit code of a single look: 0, and 1 where a file or a reading is at fault.
    """
    watcher, last = ExperimentWatcher(log or folder / "log.sqlite"), dict[str, str]()
    while True:
        now = clock()
        content = read_folder(folder / EXPERIMENTS)
        sentences = dict(content.faults)
        for watched in watcher.look(content, now=now):
            decide(folder, watched)
            sentences[watched.placed.experiment.name] = watched.move.sentence
        for name, sentence in sentences.items():
            if _without_figures(last.get(name, "")) != _without_figures(sentence):
                print(f"{now:%Y-%m-%d %H:%M:%S} {name}: {sentence}", flush=True)
        last = sentences
        if every is None:
            return int(bool(content.faults))
        time.sleep(every)


def decide(folder: Path, watched: WatchedExperiment) -> None:
    """Put on record what is to be done, unless another decided meanwhile."""
    placed, experiments = watched.placed, folder / EXPERIMENTS
    if watched.move.decision is None:
        return
    with locked(experiments):
        if state_of(decisions_file(experiments, placed.experiment.name)) == placed.state:
            add_decision(experiments, placed.experiment.name, watched.move.decision)


class ExperimentWatcher:
    """Looks at experiments by the log at `place`, of which each row is read once, however often it looks."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._log: ExperimentLog | None = None

    def look(self, content: FolderContent, *, now: datetime) -> list[WatchedExperiment]:
        """Every experiment with its next move; nothing is written."""
        running = [placed.experiment.start for placed in content.experiments if placed.phase(now) is Phase.RUNNING]
        joined, failure = None, "no slate is logged yet"
        if running and may_exist(self._place):
            try:
                joined = self._joined(min(running) - BEFORE)
            except Exception as error:  # a log that cannot be read now holds every ramp, and is looked at again
                failure = f"{shown_place(self._place)} cannot be read: {error}"
        return [_looked_at(placed, joined, failure, now=now) for placed in content.experiments]

    def _joined(self, since: datetime) -> Attribution | None:
        if self._log is None or since < self._log.since:
            self._log = ExperimentLog(self._place, since=since)
        return self._log.joined()


def _looked_at(
    placed: PlacedExperiment, joined: Attribution | None, failure: str, *, now: datetime
) -> WatchedExperiment:
    phase = placed.phase(now)
    if phase is not Phase.RUNNING:
        return WatchedExperiment(placed, None, RampMove(None, phase_words(placed, phase)))
    if joined is None:
        return WatchedExperiment(placed, None, RampMove(None, f"held: {failure}"))
    try:
        reading = read_experiment(joined, placed.experiment, as_of=now, stops=placed.state.stops)
        return WatchedExperiment(placed, reading, ramp_move(placed, reading, now=now))
    except Exception as error:  # what failed to be computed is missing: it holds this ramp alone
        logger.exception("experiment %s cannot be read", placed.experiment.name)
        return WatchedExperiment(placed, None, RampMove(None, f"held: it cannot be read: {error}"))


def phase_words(placed: PlacedExperiment, phase: Phase) -> str:
    """What an experiment that does not run does."""
    match phase:
        case Phase.WAITING:
            return f"waits for its start, {placed.experiment.start:%Y-%m-%d %H:%M} UTC"
        case Phase.STOPPED:
            return "; ".join(dict.fromkeys(placed.state.reasons.values()))
    return f"ended {placed.experiment.end:%Y-%m-%d %H:%M} UTC: everybody is on what is in force"
