"""Experiments of a service: ramp step, shares, decisions, the bounds of guardrails by the log, and the stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from desk.publication import RefusedError
from evaluation.experiments.decisions import decisions_file, read_decisions
from evaluation.experiments.effects import Missing
from evaluation.experiments.experiment_folder import (
    EXPERIMENTS,
    FolderContent,
    PlacedExperiment,
    read_folder,
    stop_variants,
)
from evaluation.experiments.ramp import RampMove
from evaluation.experiments.reading import ExperimentReading
from serving.console.board import PartPage
from serving.console.desk_line import DeskCall

logger = logging.getLogger(__name__)


class LookedAt(Protocol):
    """An experiment, what its log tells (None = nothing yet), and its next move."""

    @property
    def placed(self) -> PlacedExperiment: ...
    @property
    def reading(self) -> ExperimentReading | None: ...
    @property
    def move(self) -> RampMove: ...


@dataclass
class BoundsRun:
    """A look at the log: when it was for, and what came of it."""

    now: datetime
    watched: dict[str, LookedAt] = field(default_factory=dict)
    problem: str = ""
    running: bool = True


class ExperimentsPart:
    """Of a service's `folder`; `look_at` reads the log, which takes as long as the log is long, in a thread."""

    def __init__(
        self,
        folder: Path,
        *,
        look_at: Callable[[FolderContent, datetime], Sequence[LookedAt]],
        clock: Callable[[], datetime],
    ) -> None:
        self._folder, self._look_at, self._clock = folder / EXPERIMENTS, look_at, clock
        self._bounds: BoundsRun | None = None
        self._lock = threading.Lock()

    def look(self, call: DeskCall) -> PartPage:
        content, now = read_folder(self._folder), self._clock()
        if call.form.get("bounds") == "read":
            self._begin(content, now)
        rows = [
            (placed, placed.phase(now).value, placed.shares(now), self._decisions(placed))
            for placed in content.experiments
        ]
        values: dict[str, Any] = {"rows": rows, "faults": content.faults, "bounds": self._bounds}
        return PartPage("experiments", values | {"form": call.form, "missing": _missing})

    def act(self, call: DeskCall) -> PartPage:
        name, _, variant = call.form.get("what", "").partition(":")
        if call.action != "stop" or not name:
            raise RefusedError("not stopped: choose an experiment or one of its variants.")
        owner, reason = call.form.get("owner", ""), call.form.get("reason", "")
        decision = stop_variants(
            self._folder, name, variant=variant or None, owner=owner, reason=reason, now=self._clock()
        )
        page = self.look(DeskCall(call.part, "", call.view, call.person))
        words = {"name": name, "variants": ", ".join(decision.variants)}
        return PartPage(page.template, page.values, "stopped_done", words)

    def _decisions(self, placed: PlacedExperiment) -> Sequence[object]:
        """Newest first."""
        return read_decisions(decisions_file(placed.file.parent, placed.experiment.name))[::-1]

    def _begin(self, content: FolderContent, now: datetime) -> None:
        with self._lock:
            if self._bounds is None or not self._bounds.running:
                self._bounds = BoundsRun(now)
                threading.Thread(target=self._read, args=(content, self._bounds), daemon=True).start()

    def _read(self, content: FolderContent, run: BoundsRun) -> None:
        try:
            run.watched = {one.placed.experiment.name: one for one in self._look_at(content, run.now)}
        except Exception as error:  # whatever it is, whoever waits must be told
            logger.exception("the log of the experiments cannot be read")
            run.problem = str(error) or type(error).__name__
        finally:
            run.running = False


def _missing(relative: object) -> bool:
    return isinstance(relative, Missing)
