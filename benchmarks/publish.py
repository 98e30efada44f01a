"""How long until shoppers see a policy after it is published or rolled back, while the service goes on answering?

A run of the demo market (`make demo`) is copied, served by one worker, and asked for home pages all the time. Counted
is the time from the command's start, and from its own first step, to the first answer that names the new version; the
button of the notebook does the second part alone. A hundred people then save at once, each from what was in force when
they looked: everybody must be on record, or be told.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import count, pairwise
from multiprocessing import get_context
from pathlib import Path

import requests

from benchmarks.record import Measure, record, skip
from desk.publication import RefusedError, StaleBase, publish
from desk.versions import ChangeNote, VersionOrigin, Versions
from jobs.serve import running
from serving.bundle_service import POLICIES, BundleService
from value_model.formula import to_toml

RUN, TIMES, SAVERS = Path("runs/demo-simulated"), 5, 100
LONGEST = 60.0  # seconds until a version that nobody sees counts as lost


class Shopper:
    """Asks for home pages; `failures` counts what is not answered with 200."""

    def __init__(self, address: str) -> None:
        self._address, self._session, self._names = address, requests.Session(), count()
        self.failures = 0

    def sees(self) -> str:
        """The policy version behind the next answer."""
        body = {"surface": "home", "user_id": "u1", "request_id": f"b{next(self._names)}", "k": 5}
        answer = self._session.post(f"{self._address}/v1/recommend", json=body, timeout=10)
        self.failures += answer.status_code != 200
        return str(answer.json().get("versions", {}).get("policy", ""))

    def until(self, version: str, start: float) -> float:
        """Seconds from `start` to the first answer under that version."""
        while time.perf_counter() - start < LONGEST:
            if self.sees() == version:
                return time.perf_counter() - start
        return float("inf")


def command(*words: object) -> None:
    call = [sys.executable, "-c", "from jobs.cli import main; main()", "publish", *map(str, words)]
    subprocess.run([*call, "--by", "growth", "--why", "benchmark"], check=True, stdout=subprocess.DEVNULL)


def published(shopper: Shopper, home: Path) -> Iterator[tuple[str, float]]:
    """(what was done, seconds to the first answer under it), in turn."""
    service = BundleService.of(home)
    for turn in range(TIMES):
        first = service.served().policy
        mine = home / "mine.toml"
        draft = first.with_weights({"w_click": 0.2 + turn / 100})
        mine.write_text(to_toml(draft), encoding="utf-8")
        start = time.perf_counter()
        command(mine, home, "--base", first.version, "--despite")
        yield "publish", shopper.until(draft.version, start)
        start = time.perf_counter()
        command(home, "--rollback")
        yield "rollback", shopper.until(first.version, start)
        note = ChangeNote(VersionOrigin.PUBLISHED, "growth", "benchmark", base=first.version)
        start = time.perf_counter()
        publish(draft, note, versions=Versions(home / POLICIES), service=service, now=datetime.now(UTC))
        yield "switch", shopper.until(draft.version, start)


def save(home: Path, number: int) -> bool:
    """One person's save, from the version in force at the time; True = on record, False = told that it is not."""
    service, versions = BundleService.of(home), Versions(home / POLICIES)
    base = service.served().policy
    draft = base.with_weights({("w_click", "w_order")[number % 2]: 0.2 + number / 1000})
    note = ChangeNote(VersionOrigin.PUBLISHED, "growth", f"save {number}", base=base.version)
    try:
        publish(draft, note, versions=versions, service=service, now=datetime.now(UTC))
    except (StaleBase, RefusedError):
        return False
    return True


def lost(home: Path) -> tuple[int, int]:
    """(saves on record, saves that are neither on record nor told) of SAVERS at once."""
    versions = Versions(home / POLICIES)
    before = len(versions.entries())
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:  # a fork would inherit locks of threads
        answers = list(pool.map(save, [home] * SAVERS, range(SAVERS)))
    entries = versions.entries()[before - 1 :]
    chained = sum(new.base == old.version for old, new in pairwise(entries))
    kept = {entry.reason for entry in entries[1:]}
    missing = sum(saved != (f"save {number}" in kept) for number, saved in enumerate(answers))
    return len(kept), missing + len(kept) - chained


def main() -> None:
    if not (RUN / "bundle").exists():
        skip("publish", f"{RUN} is not there; make it with `make demo`")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "run"
        shutil.copytree(RUN, home, symlinks=True, ignore=shutil.ignore_patterns("log.sqlite*", POLICIES))
        with running(home, log=home / "log.sqlite") as address:
            shopper = Shopper(address)
            seconds: dict[str, list[float]] = {}
            for what, taken in published(shopper, home):
                seconds.setdefault(what, []).append(taken)
        on_record, missing = lost(home)
    measures = [
        *_timed("publish", "command to the first answer under it", seconds["publish"]),
        *_timed("rollback", "command to the first answer under it", seconds["rollback"]),
        *_timed("publish without its checks", "call to the first answer under it", seconds["switch"]),
        Measure("answers refused or failed meanwhile", float(shopper.failures), "answers", "<= 0"),
        Measure(f"{SAVERS} concurrent saves: on record", float(on_record), "saves"),
        Measure(f"{SAVERS} concurrent saves: lost silently", float(missing), "saves", "<= 0"),
    ]
    record("publish", measures, data=f"the demo market, one worker, {TIMES} times each", seed=7)


def _timed(what: str, between: str, seconds: list[float]) -> list[Measure]:
    return [
        Measure(f"{what}: {between}, median", statistics.median(seconds), "s", "<= 5"),
        Measure(f"{what}: {between}, longest", max(seconds), "s"),
    ]


if __name__ == "__main__":
    main()
