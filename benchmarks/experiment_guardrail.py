"""Does a harmful variant stop by itself, how soon are its shoppers back on what is in force, does a harmless one ramp?

A run of the demo market (`make demo`) is copied and served by one worker; `value-model experiment watch` looks at its
log. Two experiments share a layer in halves: one turns the value's sign, the other moves a weight by a tenth. Simulated
shoppers ask, and answer by the market's truth. Counted is the time from the decision on record to the first answer
under what is in force, asked by a shopper of the stopped variant.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import requests

from benchmarks.record import Measure, record, skip
from evaluation.experiments.decisions import DecisionKind, ExperimentDecision, decisions_file, read_decisions
from evaluation.experiments.experiment_folder import EXPERIMENTS
from jobs.data import market
from jobs.policy_service import POLICIES, BundleService
from jobs.serve import running
from marketplace.simulator import Simulation
from serving.payloads import MAX_EVENTS
from value_model.formula import to_toml

RUN, SEED = Path("runs/demo-simulated"), 7
BATCH, PLACES = 100, 20  # requests before their feedback; places read of a slate
LONGEST = 480.0  # seconds until what is open counts as failed
FIELDS = ("request_id", "surface", "user_id", "session_id", "query", "page_merchant_id", "page_item_id")
TOLD = ("feedback_id", "request_id", "event", "user_id", "item_id", "amount", "currency")
STEPS = (0.25, 0.5)
FINAL = STEPS[-1]

FILE = """
name = "{name}"
hypothesis = "A benchmark."
owner = "growth"
start = {start}
days = 28
control = "in_force"
[layer]
low = {low}
high = {high}
[[variants]]
name = "in_force"
share = 0.5
[[variants]]
name = "changed"
share = 0.5
policy = "policies/{name}.toml"
[metrics]
primary = "clicks_per_user"
minimum_effect = 0.05
[[guardrails]]
metric = "ctr"
at_least = -0.1
[ramp]
steps = [0.25, 0.5]
hours = 0
risk = 0.1
"""


class SimulatedTraffic:
    """Ask for pages at one address, and tell what they did; `failures` counts what is not answered with 200."""

    def __init__(self, address: str, simulation: Simulation) -> None:
        self._address, self._simulation, self._session = address, simulation, requests.Session()
        self._rng, self._batches = np.random.default_rng(SEED), count()
        self.asked, self.failures, self.harmed = 0, 0, ""

    def shop(self) -> None:
        """A batch of requests, and what came of them in the market's truth; all of it now."""
        prefix = f"b{next(self._batches)}-"
        batch = self._simulation.draw_requests(self._rng, count=BATCH, window=(42, 49))
        rows = self._simulation.request_table(batch, prefix=prefix).to_pylist()
        ranked = np.full((len(rows), PLACES), -1, np.int32)
        for shown, row in zip(ranked, rows, strict=True):
            answer = self._post("recommend", {name: row[name] for name in FIELDS if row[name] is not None})
            items = [item["item_id"] for item in answer.get("items", [])]
            shown[: len(items)] = self._simulation.item_rows(pa.array(items, pa.string()))
            if answer.get("experiments", {}).get("harmful") == "changed":
                self.harmed = row["user_id"]
        events = self._simulation.draw_feedback(batch, ranked, self._rng, prefix=prefix)
        events = events.filter(pc.not_equal(events["event"].cast(pa.string()), "return")).to_pylist()
        now = datetime.now(UTC).isoformat()
        told = [{name: row[name] for name in TOLD if row[name] is not None} | {"time": now} for row in events]
        for start in range(0, len(told), MAX_EVENTS):
            self._post("feedback", {"events": told[start : start + MAX_EVENTS]})

    def until_in_force(self, start: datetime) -> float:
        """Seconds from `start` to the first answer to a shopper of the stopped variant that is in no experiment."""
        while (seconds := (datetime.now(UTC) - start).total_seconds()) < 60:
            if "harmful" not in self._post("recommend", {"surface": "home", "user_id": self.harmed})["experiments"]:
                return seconds
        return float("inf")

    def _post(self, route: str, body: dict) -> dict:
        answer = self._session.post(f"{self._address}/v1/{route}", json=body, timeout=10)
        self.asked += 1
        self.failures += answer.status_code != 200
        return answer.json()


@contextmanager
def watched(home: Path) -> Iterator[None]:
    """`value-model experiment watch` on a run, until the block ends."""
    call = [sys.executable, "-c", "from jobs.cli import main; main()", "experiment", "watch", str(home), "--every", "2"]
    with (home / "watch.log").open("w") as out:
        process = subprocess.Popen(call, stdout=out, stderr=out)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def placed(home: Path) -> None:
    """The two experiments, their policies beside them."""
    folder = home / EXPERIMENTS
    (folder / "policies").mkdir(parents=True)
    policy = BundleService.of(home).served().policy
    start = datetime.now(UTC).isoformat()
    weights = {"harmless": {"w_gmv": policy.weight["w_gmv"].value * 1.1}, "harmful": {}}
    for name, low, high in (("harmful", 0.0, 0.5), ("harmless", 0.5, 1.0)):
        text = to_toml(policy.with_weights(weights[name]))
        (folder / "policies" / f"{name}.toml").write_text(text if name == "harmless" else turned(text))
        (folder / f"{name}.toml").write_text(FILE.format(name=name, low=low, high=high, start=start))


def turned(policy: str) -> str:
    """The policy's text with what it ranks by subtracted from nothing: the worst item comes first."""
    before = next(line for line in policy.splitlines() if line.startswith("value = "))
    formula = before.removeprefix('value = "').removesuffix('"')
    return policy.replace(before, f'good = "{formula}"\nvalue = "0 - good"')


def decided(home: Path, name: str) -> tuple[ExperimentDecision, ...]:
    return read_decisions(decisions_file(home / EXPERIMENTS, name))


def main() -> None:
    if not (RUN / "bundle").exists():
        skip("experiment_guardrail", f"{RUN} is not there; make it with `make demo`")
    simulation = market("demo", seed=SEED)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "run"
        shutil.copytree(RUN, home, symlinks=True, ignore=shutil.ignore_patterns("log.sqlite*", POLICIES, EXPERIMENTS))
        placed(home)
        with running(home, log=home / "log.sqlite") as address, watched(home):
            measures = measured(home, SimulatedTraffic(address, simulation))
        print((home / "watch.log").read_text())
    record("experiment_guardrail", measures, data="the demo market, one worker, simulated shoppers", seed=SEED)


def measured(home: Path, traffic: SimulatedTraffic) -> list[Measure]:
    back, start = float("inf"), time.monotonic()
    stop: ExperimentDecision | None = None
    while time.monotonic() - start < LONGEST and (stop is None or len(decided(home, "harmless")) < 1):
        traffic.shop()
        if stop is None and (decisions := decided(home, "harmful")) and decisions[-1].kind is DecisionKind.STOP:
            stop = decisions[-1]
            back = traffic.until_in_force(stop.time)
    harmless = decided(home, "harmless")
    numbers = {} if stop is None else stop.numbers
    met = [name for name in numbers if name == "units of changed"]
    stops = sum(decision.kind is DecisionKind.STOP for decision in harmless)
    ramped = [FINAL for decision in harmless if decision.kind is DecisionKind.RAMP and decision.step == 1]
    return [
        Measure("harmful variant: stopped", float(stop is not None), "", ">= 1"),
        Measure("harmful variant: shoppers who met it", float(sum(numbers[name] or 0 for name in met)), "shoppers"),
        Measure("harmful variant: change of ctr when stopped", numbers.get("ctr of changed, value") or np.nan, "share"),
        Measure("harmful variant: decision to the first answer under what is in force", back, "s", "<= 10"),
        Measure("harmless variant: stopped", float(stops), "", "<= 0"),
        Measure("harmless variant: share of its units at the end", max(ramped, default=STEPS[0]), "share", ">= 0.5"),
        Measure("requests and feedback that failed meanwhile", float(traffic.failures), "answers", "<= 0"),
        Measure("requests and feedback in all", float(traffic.asked), "answers"),
    ]


if __name__ == "__main__":
    main()
