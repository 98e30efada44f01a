"""The desk's process: what is slow of the console, beside a service; started by the first call, ended when idle.

    python -m jobs.console_desk FOLDER LOG FD      # FD: the listening Unix socket, as `jobs.on_demand` hands it over

It yields the processor to the workers that rank, and its memory is bounded: a log too large for it ends it, not them.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from desk.material import Material
from evaluation.experiments.experiment_folder import FolderContent
from jobs.experiment_watch import ExperimentWatcher, WatchedExperiment
from serving.console.board import Board
from serving.console.desk_line import DeskAnswer, DeskCall, DeskServer
from serving.console.desk_part import DeskPart
from serving.console.experiments_part import ExperimentsPart
from serving.console.monitoring_part import MonitoringPart
from serving.console.served_part import ServedPart
from value_model.formula import ValuePolicy

IDLE_SECONDS = 15 * 60
NICE = 5  # below the workers
SHARE_OF_MEMORY = 0.5  # of the machine's


def console_board(folder: Path, log: Path) -> Board:
    """The parts of the console over a service's folder and the log that it writes."""

    def clock() -> datetime:
        return datetime.now(UTC)

    served = ServedPart(folder, material_of=_tried_on, clock=clock)
    return Board(
        {
            "desk": DeskPart(lambda: _evidence(folder), clock=clock),
            "served": served,
            "experiments": ExperimentsPart(folder, look_at=_watcher(log), clock=clock),
            "monitoring": MonitoringPart(folder),
        }
    )


def serve_desk(board: Board, listener: socket.socket, *, idle: float = IDLE_SECONDS) -> None:
    """Answer calls until none has come for `idle` seconds."""
    last = [time.monotonic()]

    def answer(call: DeskCall) -> DeskAnswer:
        last[0] = time.monotonic()
        return board.answer(call)

    server = DeskServer(listener, answer)
    threading.Thread(target=server.serve_forever, name="desk", daemon=True).start()
    while time.monotonic() - last[0] < idle:
        time.sleep(min(idle, 1.0))
    server.shutdown()


def _watcher(log: Path) -> Callable[[FolderContent, datetime], Sequence[WatchedExperiment]]:
    """Looks at experiments by the log; each row is read once, however often it looks."""
    watcher = ExperimentWatcher(log)
    return lambda content, now: watcher.look(content, now=now)


def _evidence(folder: Path) -> Material | None:
    from jobs.open_desk import material_of

    return material_of(folder)


def _tried_on(folder: Path, policy: ValuePolicy) -> Material | None:
    from jobs.open_desk import material_of

    return material_of(folder, also=policy, searched=False)


def main() -> None:
    folder, log, number = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    os.nice(NICE)
    memory = int(SHARE_OF_MEMORY * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    serve_desk(console_board(folder, log), socket.socket(fileno=number))


if __name__ == "__main__":
    main()
