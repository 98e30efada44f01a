"""Does a harmful variant stop by itself, how soon are its shoppers back on what is in force, does a harmless one ramp?

A run of the demo market (`make demo`) is copied and served by one worker; `value-model experiment watch` looks at its
log. Two experiments share a layer in halves: one shows first what is clicked least, the other moves a weight by a
tenth. Simulated shoppers ask one after another, and answer by the market's truth. Counted is the time from the decision
on record to the last answer under the stopped variant. The ramp's risk is wide, so that some thousand requests are
enough to go on.
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
from jobs.serve import running
from marketplace.simulator import Simulation
from serving.bundle_service import POLICIES, BundleService
from serving.payloads import MAX_EVENTS
from value_model.formula import to_toml

RUN, SEED = Path("runs/demo-simulated"), 7
BATCH, PLACES = 25, 20  # requests before their feedback; places read of a slate
LONGEST = 330.0  # seconds until what is open counts as failed
FIELDS = ("request_id", "surface", "user_id", "session_id", "query", "page_merchant_id", "page_item_id")
TOLD = ("feedback_id", "request_id", "event", "user_id", "item_id", "amount", "currency")
STEPS = (0.4, 0.5)  # of the harmless experiment's ramp

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
steps = {steps}
hours = 0
risk = 0.3
"""


class SimulatedTraffic:
    """Ask for pages at one address, and tell what they did; `failures` counts what is not answered with 200."""

    def __init__(self, address: str, simulation: Simulation) -> None:
        self._address, self._simulation, self._session = address, simulation, requests.Session()
        self._rng, self._batches = np.random.default_rng(SEED), count()
        self.asked, self.failures = 0, 0
        self.harmed, self.last_harmed = "", datetime.now(UTC)  # who met the harmful variant last, and when

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
                self.harmed, self.last_harmed = row["user_id"], datetime.now(UTC)
        events = self._simulation.draw_feedback(batch, ranked, self._rng, prefix=prefix)
        events = events.filter(pc.not_equal(events["event"].cast(pa.string()), "return")).to_pylist()
        now = datetime.now(UTC).isoformat()
        told = [{name: row[name] for name in TOLD if row[name] is not None} | {"time": now} for row in events]
        for start in range(0, len(told), MAX_EVENTS):
            self._post("feedback", {"events": told[start : start + MAX_EVENTS]})

    def in_force(self) -> bool:
        """Whether a shopper of the harmful variant gets what is in force now."""
        return "harmful" not in self._post("recommend", {"surface": "home", "user_id": self.harmed})["experiments"]

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
    harmless = to_toml(policy.with_weights({"w_gmv": policy.weight["w_gmv"].value * 1.1}))
    start = datetime.now(UTC).isoformat()
    for name, text, steps, low, high in (
        ("harmful", least_clicked(to_toml(policy)), [0.5], 0.0, 0.5),
        ("harmless", harmless, list(STEPS), 0.5, 1.0),
    ):
        (folder / "policies" / f"{name}.toml").write_text(text)
        (folder / f"{name}.toml").write_text(FILE.format(name=name, low=low, high=high, steps=steps, start=start))


def least_clicked(policy: str) -> str:
    """The policy's text, ranking by the least probable click."""
    before = next(line for line in policy.splitlines() if line.startswith("value = "))
    return policy.replace(before, before.replace("value", "good", 1) + '\nvalue = "0 * good - w_click * ctr"')


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
        print(*(home / "watch.log").read_text().splitlines()[-20:], sep="\n")
    record("experiment_guardrail", measures, data="the demo market, one worker, simulated shoppers", seed=SEED)


def measured(home: Path, traffic: SimulatedTraffic) -> list[Measure]:
    start, stop, back = time.monotonic(), None, float("inf")
    while time.monotonic() - start < LONGEST and (stop is None or not decided(home, "harmless")):
        traffic.shop()
        decisions = decided(home, "harmful")
        if stop is None and decisions and traffic.in_force():
            stop = decisions[-1]
            back = max(0.0, (traffic.last_harmed - stop.time).total_seconds())
    harmless = decided(home, "harmless")
    numbers = {} if stop is None else stop.numbers
    met = [name for name in numbers if name == "units of changed"]
    stops = sum(decision.kind is DecisionKind.STOP for decision in harmless)
    ramped = [STEPS[1] for decision in harmless if decision.kind is DecisionKind.RAMP and decision.step == 1]
    return [
        Measure("harmful variant: stopped", float(stop is not None), "", ">= 1"),
        Measure("harmful variant: shoppers who met it", float(sum(numbers[name] or 0 for name in met)), "shoppers"),
        Measure("harmful variant: change of ctr when stopped", numbers.get("ctr of changed, value") or np.nan, "share"),
        Measure("harmful variant: decision to the last answer under it", back, "s", "<= 10"),
        Measure("harmless variant: stopped", float(stops), "", "<= 0"),
        Measure("harmless variant: share of its units at the end", max(ramped, default=STEPS[0]), "share", ">= 0.5"),
        Measure("requests and feedback that failed meanwhile", float(traffic.failures), "answers", "<= 0"),
        Measure("requests and feedback in all", float(traffic.asked), "answers"),
    ]


if __name__ == "__main__":
    main()
