"""A hundred policy changes under load, workers killed thirty times meanwhile: is each answer of one policy, and kept?

A run of the demo market (`make demo`) is copied and served by two workers. Shoppers ask for home pages and click what
they see; after every third or fourth change a worker is killed (SIGKILL) while it answers. Ten further changes are
begun by processes that are killed while they write. Of what was acknowledged, every slate, click and change must be on
record as it was answered; every slate must have the values that the policy it names gives to what it logged.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests

from benchmarks.record import Measure, record, skip
from jobs.run_evidence import bundle_policies
from jobs.serve import running
from marketplace.slate import Slate, table_to_slates
from marketplace.sqlite_log import SqliteLog
from serving.bundle import build_engine, load_bundle
from serving.bundle_service import POLICIES, BundleService
from serving.policies_in_force import PoliciesInForce, PublishRequest
from value_model.formula import ValuePolicy, evaluate_all

NAME, RUN, SEED = "policy_changes", Path("runs/demo-simulated"), 11
CHANGES, KILLS, BROKEN_OFF, SHOPPERS = 100, 30, 10, 3
PAUSE = 0.02  # seconds between two pages of a shopper


@dataclass
class ShopperAnswers:
    """What shoppers were told: answers by request id, clicks, how many were refused, and how long answers took."""

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    clicks: list[str] = field(default_factory=list)
    refused: int = 0
    cut_off: int = 0
    seconds: list[float] = field(default_factory=list)


class ClickingShopper(threading.Thread):
    """Asks for home pages, and clicks the first item of each."""

    def __init__(self, address: str, number: int, ends: threading.Event) -> None:
        super().__init__(daemon=True)
        self._address, self._number, self._ends, self.record = address, number, ends, ShopperAnswers()

    def run(self) -> None:
        session, page = requests.Session(), 0
        while not self._ends.wait(PAUSE):
            page += 1
            try:
                self._page(session, f"{self._number}-{page}")
            except requests.RequestException:  # the worker that had the request was killed
                self.record.cut_off += 1

    def _page(self, session: requests.Session, name: str) -> None:
        user, start = f"u{self._number}", time.perf_counter()
        body = {"surface": "home", "user_id": user, "request_id": name, "k": 20}
        answer = session.post(f"{self._address}/v1/recommend", json=body, timeout=30)
        if answer.status_code != 200:
            self.record.refused += 1
            self._ends.wait(float(answer.headers.get("Retry-After", 0)))
            return
        self.record.seconds.append(time.perf_counter() - start)
        self.record.answers[name] = slate = answer.json()
        event = {"feedback_id": f"click {name}", "request_id": name, "event": "click", "time": slate["time"]}
        event |= {"user_id": user, "item_id": slate["items"][0]["item_id"]}
        answer = session.post(f"{self._address}/v1/feedback", json={"events": [event]}, timeout=30)
        if answer.status_code == 200 and answer.json()["accepted"] + answer.json()["duplicates"] == 1:
            self.record.clicks.append(f"click {name}")


def main() -> None:
    if not (RUN / "bundle").exists():
        skip(NAME, f"{RUN} is not there; make it with `make demo`")
    with tempfile.TemporaryDirectory() as folder:
        home, ends = Path(folder) / "run", threading.Event()
        left_out = shutil.ignore_patterns("log.sqlite*", POLICIES, "evaluation")
        shutil.copytree(RUN, home, symlinks=True, ignore=left_out)
        with running(home, log=home / "log.sqlite", workers=2) as address:
            shoppers = [ClickingShopper(address, number, ends) for number in range(SHOPPERS)]
            for shopper in shoppers:
                shopper.start()
            start = time.perf_counter()
            versions, kills = changed(home)
            taken = time.perf_counter() - start
            ends.set()
            for shopper in shoppers:
                shopper.join()
        measures = [
            Measure("policy changes", len(versions), "changes"),
            Measure("of all changes, seconds each", taken / len(versions), "s"),
            Measure("workers killed", kills, "kills", f">= {KILLS}"),
            *of_shoppers([shopper.record for shopper in shoppers], home),
            *of_history(versions, home),
        ]
    about = f"the demo market, two workers, {SHOPPERS} shoppers; {BROKEN_OFF} of the changes broken off"
    record(NAME, measures, data=about, seed=SEED)


def changed(home: Path) -> tuple[list[str], int]:
    """Versions that were acknowledged, and how many workers were killed meanwhile."""
    rng, versions, kills = np.random.default_rng(SEED), list[str](), 0
    for number in range(CHANGES):
        versions.append(change(home, number))
        if kills < KILLS and rng.random() < (KILLS - kills) / (CHANGES - number):
            kills += kill_worker(rng)
        if number % (CHANGES // BROKEN_OFF) == 0:
            break_off(home, number, seconds=rng.uniform(1.0, 4.0))
    return versions, kills


def change(home: Path, number: int) -> str:
    """The version that was put in force, as `PUT /v1/policy` does without requests to try it on."""
    policies = PoliciesInForce(home)
    served = policies.served().policy
    draft = served.with_weights({"w_click": 0.2 + number / 1000})
    request = PublishRequest("growth", f"change {number}", base=served.version, despite=True)
    return policies.put(draft, request, now=datetime.now(UTC)).record.version


def break_off(home: Path, number: int, *, seconds: float) -> None:
    """Begin a change in a process of its own, and kill that."""
    process = multiprocessing.get_context("spawn").Process(target=change, args=(home, CHANGES + number))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()


def kill_worker(rng: np.random.Generator) -> int:
    """How many were killed: 1, or 0 where none stands just now."""
    (gunicorn,) = [child for child in psutil.Process().children() if "gunicorn" in " ".join(child.cmdline())]
    workers = gunicorn.children()
    if not workers:
        return 0
    os.kill(workers[rng.integers(len(workers))].pid, signal.SIGKILL)
    return 1


def of_shoppers(records: list[ShopperAnswers], home: Path) -> list[Measure]:
    """What they were told against the log and the policies."""
    log = SqliteLog(home / "log.sqlite")
    slates = {slate.request_id: slate for slate in table_to_slates(log.slates())}
    clicks = set(log.feedback()["feedback_id"].to_pylist())
    log.close()
    acknowledged = {name for one in records for name in one.clicks}
    answers = {name: answer for one in records for name, answer in one.answers.items()}
    lost = [name for name, answer in answers.items() if not as_answered(slates.get(name), answer)]
    policies = bundle_policies(home)
    engine = build_engine(load_bundle(home / "bundle"), log=SqliteLog(home / "other.sqlite"))
    mixed = sum(not of_one_policy(slate, policies, engine.parts.valuation.columns(slate)) for slate in slates.values())
    bundles = {tuple(part for part in slate.versions.items() if part[0] != "policy") for slate in slates.values()}
    milliseconds = 1e3 * np.array([second for one in records for second in one.seconds])
    return [
        Measure("answers", len(answers), "answers"),
        Measure("policies among them", len({slate.policy_version for slate in slates.values()}), "policies"),
        Measure("answered within, p50", float(np.percentile(milliseconds, 50)), "ms"),
        Measure("answered within, p99", float(np.percentile(milliseconds, 99)), "ms"),
        Measure("cut off by a kill, or not connected", sum(one.cut_off for one in records), "requests"),
        Measure("refused, with Retry-After", sum(one.refused for one in records), "requests"),
        Measure("slates acknowledged, and not on record as answered", len(lost), "slates", "<= 0"),
        Measure("clicks acknowledged", len(acknowledged), "clicks"),
        Measure(
            "clicks acknowledged, and not on record",
            len({c for one in records for c in one.clicks} - clicks),
            "clicks",
            "<= 0",
        ),
        Measure("slates whose values are not those of their policy", mixed, "slates", "<= 0"),
        Measure("sets of models among the slates", len(bundles), "sets", "<= 1"),
    ]


def as_answered(slate: Slate | None, answer: Mapping[str, Any]) -> bool:
    """Whether the log holds what the shopper saw: items, values and versions."""
    if slate is None:
        return False
    shown = np.argsort(slate.position, kind="stable")[np.sum(slate.position == 0) :]
    same = [item["item_id"] for item in answer["items"]] == slate.item_id[shown].tolist()
    same &= [item["value"] for item in answer["items"]] == slate.value[shown].tolist()
    return same and answer["versions"] == slate.versions


def of_one_policy(slate: Slate, policies: Mapping[str, ValuePolicy], columns: Mapping[str, np.ndarray]) -> bool:
    """Whether weights and values are what the policy that the slate names makes of what it logged."""
    policy = policies.get(slate.policy_version)
    if policy is None:
        return False
    weights = policy.weights_for(surface=slate.surface, segment=slate.segment)
    value = evaluate_all(policy, columns, weights=weights)[policy.result]
    return dict(slate.weights) == dict(weights) and bool(np.array_equal(value, slate.value))


def of_history(versions: list[str], home: Path) -> list[Measure]:
    """Changes that were acknowledged against the history; what is in force must be on record."""
    policies = PoliciesInForce(home)
    recorded = [line.version for line in policies.history()]
    served = BundleService.of(home).served().policy.version
    return [
        Measure("lines of the history", len(recorded), "lines"),
        Measure("changes acknowledged, and not on record", len(set(versions) - set(recorded)), "changes", "<= 0"),
        Measure("the policy in force is none on record", float(served not in recorded), "policies", "<= 0"),
    ]


if __name__ == "__main__":
    main()
