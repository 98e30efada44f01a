"""The live loop on a market that moves: a service learns as it goes, and is judged by the truth every market day.

A simulated market (`jobs.live_market`) trains a first bundle on the few days that its old system recorded, and is then
the traffic of `value-model up`. Three answers to each request are compared, by exact expectations:

    live     what the service showed
    frozen   what the first bundle would have shown: it follows the same log and catalogue, and is never trained again
    oracle   the list of the highest true GMV that the whole catalogue allows
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import requests as http

from jobs.child_process import end_with_parent
from jobs.config import RunConfig
from jobs.generation import Generations
from jobs.learn import POLL_SECONDS
from jobs.live_market import live_market, write_exports
from jobs.live_traffic import Answers, Traffic
from jobs.run import run_all
from jobs.serve import ServiceFailed, free_port
from jobs.tables import print_section
from jobs.true_worth import true_worth
from marketplace.estimate import Estimate
from marketplace.simulator import RequestBatch, Simulation, true_difference, true_value
from marketplace.sqlite_log import SqliteLog
from retrieval.config import RetrievalConfig
from serving.bundle import build_engine, load_bundle
from value_model.formula import ValuePolicy
from value_model.rankers.config import NetworkConfig, TrainingConfig, TreesConfig

METRICS = {"ctr": "click / impression", "gmv_sar": "SAR / request", "value": "SAR / request"}
RANKINGS = ("live", "frozen", "oracle")
PROGRAM = (sys.executable, "-c", "from jobs.cli import main; main()")
PRINTED = "up.txt"  # in the run's folder: what `up` printed
READY_SECONDS, STOP_SECONDS = 120.0, 90.0
LEARN_SECONDS = 300.0  # that market time stands still at most, for a training to end
SETTINGS = RunConfig(
    retrieval=RetrievalConfig(dimensions=32, epochs=4, index="exact"),
    ranker=NetworkConfig(expert_units=(32, 16)),
    training=TrainingConfig(epochs=8, patience=2),
    trees=TreesConfig(trees=100),
)
OF_THREE = " / ".join(RANKINGS)
HEAD = (
    "day",
    "generations",
    *(f"{metric}: {OF_THREE}" for metric in ("CTR", "GMV", "value")),
    "value: live - frozen",
    "lag, h",
    "fresh, s",
    "refused",
    "lost",
)


@dataclass(frozen=True)
class LiveDemo:
    """How long, how busy, and on which systems: `requests` a market day, `every` so many market hours a training."""

    days: int = 6
    requests: int = 600
    every: float = 20.0
    workers: int = 2
    seed: int = 7
    kafka: str | None = None
    features: str | None = None


@dataclass(frozen=True)
class DayTruth:
    """A market day, or several: by ranking and metric what it was truly worth, and by metric live - frozen, paired."""

    name: str
    worth: Mapping[str, Mapping[str, Estimate]]
    ahead: Mapping[str, Estimate]
    generations: tuple[int, ...]
    lag: float  # hours of the market, mean
    fresh: float  # seconds, longest
    refused: int
    lost: int


def demo_live(home: Path, demo: LiveDemo) -> list[DayTruth]:
    """Every day, and all days as one; `home` is made anew."""
    start = time.perf_counter()
    shutil.rmtree(home, ignore_errors=True)
    simulation = live_market(demo.seed)
    mapping = write_exports(simulation, home / "shop")
    run_all(replace(SETTINGS, data=str(mapping)), home)
    log, truths, answered = home / "log.sqlite", list[DayTruth](), list[Answers]()
    with running_up(home, demo) as address, closing(SqliteLog(log)) as kept:
        first = load_bundle(home / "bundles" / "1")
        frozen = build_engine(first, log=kept)
        traffic = Traffic(simulation, address, home, frozen, np.random.default_rng(demo.seed))
        for number in range(demo.days):
            answered.append(traffic.day(number, count=demo.requests))
            lost = traffic.acknowledged.lost(kept)
            truths.append(truth(simulation, first.policy, answered[-1:], name=str(number + 1), lost=lost))
            show(truths[-1:])
            if number + 1 < demo.days:
                wait_for_training(home)
    truths.append(truth(simulation, first.policy, answered, name="all", lost=truths[-1].lost))
    show(truths)
    for number, verdict in reversed(list(Generations(home).verdicts)):
        outcome = "shipped" if verdict.shipped else "refused"
        print(f"   generation {number}: {outcome} after {verdict.seconds:.0f} s; {verdict.reason}")
    print(f"   done in {time.perf_counter() - start:.0f} s; {home}/{PRINTED} holds what `value-model up` said")
    return truths


def wait_for_training(home: Path) -> None:
    """Let market time stand still until the generation that was begun last has its verdict."""
    generations, deadline = Generations(home), time.monotonic() + LEARN_SECONDS
    time.sleep(2 * POLL_SECONDS)  # until the trainer has seen the day's end
    while time.monotonic() < deadline:
        done = {number for number, _ in generations.verdicts}
        if generations.numbers and generations.numbers[-1] in done:
            return
        time.sleep(0.5)


@contextmanager
def running_up(home: Path, demo: LiveDemo) -> Iterator[str]:
    """The address of a market that is up; it is ended with the block."""
    port = free_port()
    options = ["--port", str(port), "--workers", str(demo.workers), "--every", str(demo.every), "--watch", "0"]
    for name, value in {"--kafka": demo.kafka, "--features": demo.features}.items():
        options += [name, value] if value else []
    with (home / PRINTED).open("w") as out:
        command = [*PROGRAM, "up", str(home), *options]
        process = subprocess.Popen(command, stdout=out, stderr=out, preexec_fn=end_with_parent)
        try:
            yield _ready(process, f"http://127.0.0.1:{port}", home / PRINTED)
        finally:
            process.terminate()
            process.wait(timeout=STOP_SECONDS)


def _ready(process: subprocess.Popen[bytes], address: str, printed: Path) -> str:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if http.get(f"{address}/readyz", timeout=5).status_code == 200:
                return address
        except http.RequestException:
            pass  # not listening yet
        time.sleep(0.2)
    raise ServiceFailed(f"the market did not come up; it printed:\n{printed.read_text()[-3000:]}")


def truth(
    simulation: Simulation, policy: ValuePolicy, answered: Sequence[Answers], *, name: str, lost: int
) -> DayTruth:
    """Of some days, judged as one."""
    requests = together([one.requests for one in answered])
    ranked = {kind: np.concatenate([getattr(one, kind) for one in answered]) for kind in RANKINGS}
    worth, rng = true_worth(simulation, policy, requests), np.random.default_rng(0)  # exact: nothing is drawn
    levels = {
        kind: true_value(simulation, lists, rng=rng, requests=requests, value=worth) for kind, lists in ranked.items()
    }
    ahead = true_difference(simulation, ranked["live"], ranked["frozen"], rng=rng, requests=requests, value=worth)
    return DayTruth(
        name,
        levels,
        ahead,
        generations=tuple(sorted({number for one in answered for number in one.generations})),
        lag=float(np.mean([hours for one in answered for hours in one.lag])),
        fresh=max(one.fresh for one in answered),
        refused=sum(one.refused for one in answered),
        lost=lost,
    )


def together(batches: Sequence[RequestBatch]) -> RequestBatch:
    """The requests of all, one after another."""
    columns = {name: np.concatenate([getattr(one, name) for one in batches]) for name in vars(batches[0])}
    return RequestBatch(**columns)


def show(truths: Sequence[DayTruth]) -> None:
    """The table."""
    rows = []
    for day in truths:
        levels = [" / ".join(f"{day.worth[kind][metric].value:.4g}" for kind in RANKINGS) for metric in METRICS]
        served = ", ".join(map(str, day.generations))
        tail = [f"{day.lag:.1f}", f"{day.fresh:.2f}", str(day.refused), str(day.lost)]
        rows.append([day.name, served, *levels, str(day.ahead["value"]), *tail])
    print_section(HEAD, rows, title="truth, by market day", caption="GMV and value in SAR / request")
