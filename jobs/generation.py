"""Generation: one training of a live service, from the models in force, on what its log held at one moment.

HOME/generations/N is a run that goes on from the one in force (`jobs.earlier_run`), on a copy of the log. Of the
requests that the models have not learned yet the first LEARNED share is learned, the next validates, the last is the
canary's (`jobs.canary`). What passes every gate becomes HOME/bundles/M, and the link that services follow is moved:

    the bundle's checks and trial requests, exports that agree, the policy in force, the canary

The new bundle's store knows the copy of the log, row by row: services go on behind it (`serving.store_checkpoint`), so
that no event is lost or counted twice, however late it came.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from desk.versions import Versions
from evaluation.experiments.experiment_folder import EXPERIMENTS, read_folder
from features.catalogue import Catalogue
from features.store import MemoryStore
from jobs.check import policy_findings
from jobs.config import PeriodsConfig, RunConfig
from jobs.data import kept
from jobs.earlier_run import trained_until
from jobs.run import run_all
from jobs.run_folder import RunFolder
from marketplace.finding import errors
from marketplace.keys import one_array, rows_of
from marketplace.splits import microseconds
from marketplace.sqlite_log import SqliteLog
from serving.bundle import POLICY_FILE, STORE_FILES, ModelBundle, load_bundle
from serving.bundle_service import POLICIES, BundleService, next_bundle
from serving.manifest import MANIFEST, point_current, read_manifest
from serving.policy_bundle import write_policy_bundle
from serving.store_checkpoint import LogPosition, StoreCheckpoint
from value_model.formula import load_policy

GENERATIONS, VERDICT, BUNDLES = "generations", "verdict.json", "bundles"
COPY = "learned_from.sqlite"  # in HOME: the log as the generation under way reads it
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
LEARNED, VALIDATED = 0.5, 0.3  # of the requests that are not learned yet; the rest is the canary's


@dataclass(frozen=True)
class ShipVerdict:
    """What became of a generation: whether it was shipped, why, as which bundle, and the last moment that it knows."""

    shipped: bool
    reason: str
    known_until: str
    bundle: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Generations:
    """The generations of a run's folder."""

    home: Path

    def folder(self, number: int) -> Path:
        return self.home / GENERATIONS / str(number)

    @property
    def numbers(self) -> list[int]:
        """Oldest first."""
        folders = (self.home / GENERATIONS).glob("*")
        return sorted(int(path.name) for path in folders if path.name.isdigit())

    @property
    def verdicts(self) -> Iterator[tuple[int, ShipVerdict]]:
        """Newest first, of those that are done."""
        for number in reversed(self.numbers):
            path = self.folder(number) / VERDICT
            if path.exists():
                yield number, ShipVerdict(**json.loads(path.read_text()))

    @property
    def in_force(self) -> RunFolder:
        """The run whose models serve: a shipped generation's, or the folder's own."""
        serving = _ranker(self.home)
        shipped = (self.folder(number) for number, verdict in self.verdicts if verdict.shipped)
        return RunFolder.open(next((folder for folder in shipped if _ranker(folder) == serving), self.home))

    @property
    def next(self) -> int:
        """The one that was interrupted, or a new one."""
        done = {number for number, _ in self.verdicts}
        last = max(self.numbers, default=0)
        return last if last and last not in done else last + 1

    def close(self, number: int, verdict: ShipVerdict) -> None:
        """Write its verdict; the copy of the log is needed no more."""
        folder = self.folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f".{VERDICT}").write_text(json.dumps(asdict(verdict), indent=1) + "\n")
        (folder / f".{VERDICT}").replace(folder / VERDICT)
        (self.home / COPY).unlink(missing_ok=True)

    def prune(self, *, keep: int) -> None:
        """Remove all but the `keep` newest generations with their bundles, what is in force and what is tried."""
        content = read_folder(self.home / EXPERIMENTS)
        tried = {variant.bundle for one in content.experiments for variant in one.experiment.variants}
        needed = {self.in_force.path, (self.home / "bundle").resolve()}
        for number, verdict in list(self.verdicts):
            bundle = self.home / BUNDLES / verdict.bundle
            if number in self.numbers[-keep:] or self.folder(number) in needed:
                continue
            shutil.rmtree(self.folder(number))
            if verdict.bundle and verdict.bundle not in tried and bundle.resolve() not in needed:
                shutil.rmtree(bundle, ignore_errors=True)


def _ranker(folder: Path) -> str:
    """Content hash of the ranker in a folder's bundle."""
    return read_manifest((folder / "bundle").resolve() / MANIFEST).versions.get("ranker", "")


def learn_generation(home: Path, log: Path, number: int) -> ShipVerdict:
    """Train generation `number`, hold it against the gates, ship it where it passes; all of it is resumable."""
    from jobs.canary import canary

    start = time.perf_counter()
    generations = Generations(home)
    copy = log_copy(home, log)
    before = generations.in_force
    run = run_all(generation_config(home, before, copy), generations.folder(number))
    bundle, known_until = "", str(read_manifest(run.path / "bundle" / MANIFEST).facts["known_until"])
    policy = home / "bundle" / POLICY_FILE
    faults = errors(policy_findings(policy, run.path, calibrated=False))
    trial = canary(run, before, load_policy(policy))
    refusal = f"the policy in force errs over it: {faults[0].reason}" if faults else trial.refusal
    if refusal is None:
        bundle = ship(home, run.path / "bundle", copy, log)
    verdict = ShipVerdict(
        refusal is None, refusal or str(trial), known_until, bundle, round(time.perf_counter() - start, 1)
    )
    generations.close(number, verdict)
    return verdict


def log_copy(home: Path, log: Path) -> Path:
    """The log as it is now, or as it was when the generation under way began."""
    copy = home / COPY
    if not copy.exists():
        source = SqliteLog(log)
        source.backup(copy)
        source.close()
    return copy


def generation_config(home: Path, before: RunFolder, copy: Path) -> RunConfig:
    """The settings of the run in force, on the copy of the log, with the policy and recipes of the folder."""
    earlier = kept(before.path).slates
    log = SqliteLog(copy)
    logged = log.slates(columns=("request_id", "time"))
    log.close()
    new = rows_of(logged["request_id"], one_array(earlier["request_id"])) < 0
    times = np.concatenate([microseconds(earlier["time"]), microseconds(logged["time"])[new]])
    open_requests = int((times >= trained_until(before, "ranker")).sum())
    return replace(
        before.config,
        data=str(copy),
        start=str(before.path),
        policy=str(home / "bundle" / POLICY_FILE),
        surfaces=str(home / "surfaces.toml"),
        periods=generation_periods(len(times), open_requests),
        trees=replace(before.config.trees, anew=True),
    )


def generation_periods(requests: int, open_requests: int) -> PeriodsConfig:
    """Shares of all `requests` such that the last `open_requests` are divided as LEARNED and VALIDATED say."""
    test = (1 - LEARNED - VALIDATED) * open_requests
    shares = (test / requests, VALIDATED * open_requests / (requests - test))
    test_share, validation_share = (round(min(max(share, 0.01), 0.9), 6) for share in shares)
    return PeriodsConfig(test_share, validation_share)


def ship(home: Path, trained: Path, copy: Path, log: Path) -> str:
    """Make the trained bundle the folder's next, under the policy and the trial in force, and move the link to it.

    Raises BundleError where it does not answer its trial requests; then nothing has changed.
    """
    with Versions(home / POLICIES).locked():  # whoever publishes meanwhile does so over the new models, or before
        service, place = BundleService.of(home), next_bundle(home)
        write_policy_bundle(trained, service.served(), place)
        keep_position(load_bundle(place), copy, log)
        point_current(home / "bundle", place)
    return place.name


def keep_position(bundle: ModelBundle, copy: Path, log: Path) -> None:
    """Say beside the log up to which of its rows the bundle's store knows it: to the end of the copy."""
    learned = SqliteLog(copy)
    position = LogPosition(learned.feedback_after(0, since=NEVER)[1], learned.shown_after(0, since=NEVER)[1])
    store = MemoryStore(bundle.encoder.spec, Catalogue.of(bundle.catalogue), bundle.catalogue.users)
    store.restore(bundle.folder / STORE_FILES[0])
    StoreCheckpoint(log, bundle=bundle.store_version).save(store, None, learned, position)
    learned.close()
