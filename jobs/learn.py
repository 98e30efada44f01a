"""The trainer of a live service: a generation whenever the log holds so much more than was learned from last.

Time is the log's own, so that it passes as the market's does. Each generation (`jobs.generation`) is trained in a
process of its own, at a somewhat lower priority than the service; one that was interrupted goes on.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc

from jobs.child_process import end_with_parent
from jobs.generation import Generations, ShipVerdict
from jobs.run_folder import RunFolderError
from marketplace.sqlite_log import SqliteLog
from serving.bundle_service import BundleService

POLL_SECONDS = 2.0
FEWEST = 100  # further slates, without which nothing is trained
BATCH = 10_000  # slates read at a time
NICE = 2  # steps of priority behind the service
PRINTED = "printed.txt"  # in a generation's folder: what its training printed
TRAIN = (
    "import sys; from pathlib import Path; from jobs.generation import learn_generation; "
    "learn_generation(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))"
)
TUNED = "tuned.txt"  # the same of its tuning
TUNE = (
    "import sys; from pathlib import Path; from jobs.tune_generation import tune_generation; "
    "print(tune_generation(Path(sys.argv[1]), Path(sys.argv[2]), maximise=sys.argv[3], owner=sys.argv[4]))"
)


@dataclass
class FurtherSlates:
    """What a log holds beyond `known_until`: how many slates, and the time of the newest."""

    log: SqliteLog
    known_until: datetime
    count: int = 0
    newest: datetime = field(init=False)
    _mark: int = 0

    def __post_init__(self) -> None:
        self.newest = self.known_until

    def read(self) -> None:
        """Read what arrived since the last time."""
        while True:
            some, self._mark = self.log.shown_after(self._mark, since=self.known_until, most=BATCH, columns=("time",))
            if not len(some):
                return
            self.count += len(some)
            self.newest = max(self.newest, pc.max(some["time"]).as_py())

    def due(self, every: timedelta) -> bool:
        """Whether there is enough to learn from, `every` so much time of the log."""
        return self.count >= FEWEST and self.newest - self.known_until >= every


@dataclass(frozen=True)
class TuneStep:
    """After a generation was shipped: the metric that the policy is tuned for, and the owner whose weights may move."""

    maximise: str
    owner: str


def learn(home: Path, *, log: Path, every: timedelta, keep: int, once: bool, tuning: TuneStep | None = None) -> int:
    """Train, check and ship generations of the run `home` until a signal, or `once` of what there is: 0, 1 = refused.

    Raises RunFolderError for what is no trained run, or has a trainer already; BundleError without a link to follow.
    """
    generations, service = Generations(home), BundleService.of(home)
    if not generations.in_force.heads:
        raise RunFolderError(
            f"{home} learned no head yet: make a run on its log first (`value-model run --data {log}`)."
        )
    with _alone(home), closing(SqliteLog(log)) as source:
        while True:
            known = next((verdict.known_until for _, verdict in generations.verdicts), None)
            known_until = datetime.fromisoformat(known or str(service.manifest.facts["known_until"]))
            further = FurtherSlates(source, known_until)
            further.read()
            while not once and not further.due(every):
                time.sleep(POLL_SECONDS)
                further.read()
            if not further.count:
                print(f"learn: {log} holds nothing after {known_until:%Y-%m-%d %H:%M} UTC", flush=True)
                return 1
            number = generations.next
            print(
                f"learn: generation {number}: {further.count:,} further slates, to {_minute(further.newest)}",
                flush=True,
            )
            verdict = _trained(generations, number, log, further.newest)
            generations.prune(keep=keep)
            print(f"learn: generation {number}: {_outcome(verdict)}", flush=True)
            if verdict.shipped and tuning is not None:
                print(f"learn: generation {number}: tuned: {_tuned(generations, number, tuning)}", flush=True)
            if once:
                return int(not verdict.shipped)


def _trained(generations: Generations, number: int, log: Path, newest: datetime) -> ShipVerdict:
    """The verdict on a generation, after a process of its own has trained it."""
    folder = generations.folder(number)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", TRAIN, str(generations.home), str(log), str(number)]
    with (folder / PRINTED).open("a") as out:
        code = subprocess.run(command, stdout=out, stderr=out, preexec_fn=_aside).returncode
    if code:
        lines = (folder / PRINTED).read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
        reason = f"ended by {signal.Signals(-code).name}" if code < 0 else lines[-1]
        generations.close(number, ShipVerdict(False, f"{reason} ({folder / PRINTED})", newest.isoformat()))
    return next(verdict for done, verdict in generations.verdicts if done == number)


def _tuned(generations: Generations, number: int, tuning: TuneStep) -> str:
    """What became of the policy that a process of its own proposed: the last line that it printed."""
    folder = generations.folder(number)
    command = [sys.executable, "-c", TUNE, str(generations.home), str(folder), tuning.maximise, tuning.owner]
    with (folder / TUNED).open("w") as out:
        subprocess.run(command, stdout=out, stderr=out, preexec_fn=_aside)
    lines = (folder / TUNED).read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
    return lines[-1]


def _aside() -> None:
    """In the child: ended with its parent, and behind the service where processors are scarce."""
    end_with_parent()
    os.nice(NICE)


def _outcome(verdict: ShipVerdict) -> str:
    shipped = f"serves as bundles/{verdict.bundle}" if verdict.shipped else "refused, what serves goes on"
    return f"{shipped}; {verdict.reason}; {verdict.seconds:.0f} s"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    with (home / ".learn.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFolderError(
                f"{home} is learned from already: one trainer a folder. End the other first."
            ) from None
        yield
