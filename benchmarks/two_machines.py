"""Do two machines with logs of their own, over one Kafka and one Redis, answer and count as one?

    make bench ONLY=two_machines      RUN=... chooses another run than the demo's, REQUESTS=100 fewer

Each machine is a network namespace of its own (root and Linux; skipped elsewhere), with `serve --gathered`, its log and
its spool; broker, Redis and `consume --features`, which is killed once and started again, are reached over virtual
cables. The policy is the run's with `unheeded = 2` and some exploration. Shoppers go to the machines by turns:

- every fifth request comes to the other machine again, under its id; each click goes to both machines, each order to
  both under two ids, and what answers a list goes first to the machine that did not show it;
- a click until the other machine's features have it;
- lists of one machine, then of the other: what the first has shown is left out by the second;
- one moment and seed at both, and in a process with the gathered log alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import requests

from benchmarks.record import Measure, print_table, record, skip
from benchmarks.redis_server import redis_server
from benchmarks.small_broker import SmallBroker
from marketplace.sqlite_log import SqliteLog
from serving.bundle import build_engine, load_bundle
from serving.policies_in_force import PoliciesInForce, PublishRequest
from serving.request import Request
from value_model.formula import load_policy

SEED, PORT, PATIENCE = 0, 8080, 60
REQUESTS, SHOPPERS, PROBES, PAIRS = int(os.environ.get("REQUESTS", "400")), 40, 40, 20
PROGRAM = [sys.executable, "-c", "from jobs.cli import main; main()"]
RULES = '[slate]\nunheeded = 2\nexploration = { kind = "plackett_luce", temperature = 0.02 }\n\n[slate.relevance]'


@contextmanager
def machines() -> Iterator[list[tuple[str, str, str]]]:
    """Name, address and this side's address of two network namespaces; skips where they are not permitted."""
    made = [(f"vm{os.getpid()}{end}", f"10.77.{end}.2", f"10.77.{end}.1") for end in (1, 2)]
    try:
        try:
            for machine in made:
                join(*machine)
        except (OSError, subprocess.CalledProcessError) as error:
            skip("two_machines", f"no network namespaces here: {getattr(error, 'stderr', None) or error}")
        yield made
    finally:
        for name, *_ in made:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


def join(name: str, theirs: str, ours: str) -> None:
    """A namespace, and the virtual cable to it."""
    ip("netns", "add", name)
    ip("link", "add", f"{name}o", "type", "veth", "peer", "name", f"{name}i")
    ip("link", "set", f"{name}i", "netns", name)
    ip("addr", "add", f"{ours}/24", "dev", f"{name}o")
    ip("link", "set", f"{name}o", "up")
    ip("-n", name, "link", "set", "lo", "up")
    ip("-n", name, "addr", "add", f"{theirs}/24", "dev", f"{name}i")
    ip("-n", name, "link", "set", f"{name}i", "up")
    ip("-n", name, "route", "add", "default", "via", ours)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def policy_of_two(run: Path, home: Path) -> None:
    """Copies of a run, one a machine, under a policy that leaves out what was shown lately."""
    shutil.copytree(run, home / "run", symlinks=True, ignore=shutil.ignore_patterns("log.sqlite*", "data"))
    text = (run / "bundle" / "policy.toml").read_text().replace("[slate.relevance]", RULES)
    (home / "policy.toml").write_text(text)
    request = PublishRequest(owner="marketplace ranking", reason="what was shown lately comes last", despite=True)
    PoliciesInForce(home / "run").put(load_policy(home / "policy.toml"), request, now=datetime.now(UTC))
    for name in ("one", "two"):
        shutil.copytree(home / "run", home / name, symlinks=True)


class TwoMachines:
    """Two services, and what they are sent."""

    def __init__(self, addresses: Sequence[str], home: Path, users: Sequence[str]) -> None:
        self.addresses, self.users, self.home = addresses, users, home
        self.requests, self.clicks, self.orders = set[str](), set[str](), set[str]()
        self.differ = self.unbelieved = 0

    def post(self, machine: int, route: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = requests.post(f"http://{self.addresses[machine]}:{PORT}/v1/{route}", json=body, timeout=60)
        if answer.status_code != 200:
            raise RuntimeError(f"{route} answered {answer.status_code}: {answer.text[:300]}")
        return dict(answer.json())

    def rank(self, machine: int, user: str, **more: Any) -> dict[str, Any]:
        name = str(more.pop("request_id", None) or uuid.uuid4().hex)
        self.requests.add(name)
        body = {"surface": "home", "user_id": user, "request_id": name, "k": 10, **more}
        return self.post(machine, "rank" if "candidates" in more else "recommend", body)

    def feed(self, machine: int, slate: dict[str, Any], user: str, **event: Any) -> None:
        """An event about the list's first item."""
        name, item = uuid.uuid4().hex, slate["items"][0]["item_id"]
        content = {"feedback_id": name, "request_id": slate["request_id"], "user_id": user, "item_id": item} | event
        answer = self.post(machine, "feedback", {"events": [content | {"time": now()}]})
        self.unbelieved += answer["accepted"] + answer["duplicates"] != 1

    def shop(self, number: int) -> None:
        """A request to the machine whose turn it is, and what comes of it."""
        user, machine = self.users[number % SHOPPERS], (number + number // SHOPPERS) % 2
        slate = self.rank(machine, user)
        if number % 5 == 0:
            again = self.rank(1 - machine, user, request_id=slate["request_id"])
            self.differ += again["items"] != slate["items"]
        if number % 2 == 0:
            self.clicks.add(click := uuid.uuid4().hex)
            for one in (1 - machine, machine):
                self.feed(one, slate, user, event="click", feedback_id=click)
        if number % 10 == 0:
            self.orders.add(order := uuid.uuid4().hex)
            for one in (1 - machine, machine):
                self.feed(one, slate, user, event="order", order_id=order, amount=1.0, currency="SAR")

    def seconds_to_the_other(self, number: int) -> float:
        """From an acknowledged click to the first answer of the other machine whose features have it."""
        user, machine = f"newcomer {number}", number % 2
        slate = self.rank(machine, user)
        item = slate["items"][0]["item_id"]
        self.clicks.add(click := uuid.uuid4().hex)
        self.feed(machine, slate, user, event="click", feedback_id=click)
        began, log = time.monotonic(), SqliteLog(self.home / ("two", "one")[machine] / "log.sqlite")
        with closing(log):
            while True:
                answered = self.rank(1 - machine, user, candidates=[item])
                if log.slate(answered["request_id"]).numeric["pair_clicks"][0] == 1:
                    return time.monotonic() - began
                if time.monotonic() - began > PATIENCE:
                    raise RuntimeError(f"a click was not known to the other machine after {PATIENCE} s")


def now() -> str:
    return datetime.now(UTC).isoformat()


def wait_until(done: Callable[[], bool], what: str, *, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {patience} s")
        time.sleep(0.1)


def is_ready(address: str) -> bool:
    try:
        return requests.get(f"http://{address}:{PORT}/readyz", timeout=5).status_code == 200
    except requests.RequestException:  # not listening yet, or loading the bundle
        return False


def counted(gathered: SqliteLog, market: TwoMachines) -> list[Measure]:
    """The gathered log against what was acknowledged."""

    def arrived() -> bool:
        return gathered.ends()[1] >= len(market.requests) and gathered.ends()[0] >= events

    events = len(market.clicks) + len(market.orders)
    wait_until(arrived, "everything in the gathered log")
    slates, feedback = gathered.slates(columns=("request_id",))["request_id"].to_pylist(), gathered.feedback()
    kinds = {kind: feedback.filter(np.array(feedback["event"].to_pylist()) == kind) for kind in ("click", "order")}
    clicks, orders = kinds["click"]["feedback_id"].to_pylist(), len(kinds["order"])
    odd = len(set(slates) ^ market.requests) + len(slates) - len(set(slates))
    return [
        Measure("requests", len(market.requests), "requests"),
        Measure("requests that were answered otherwise when they came again", market.differ, "requests", "<= 0"),
        Measure("events of the other machine's lists that were not believed", market.unbelieved, "events", "<= 0"),
        Measure("requests that the gathered log lacks or holds twice", odd, "requests", "<= 0"),
        Measure("clicks it lacks or counts twice", abs(len(clicks) - len(market.clicks)), "clicks", "<= 0"),
        Measure("orders that two machines accepted", len(market.orders), "orders"),
        Measure("orders it lacks or counts twice", abs(orders - len(market.orders)), "orders", "<= 0"),
    ]


def fatigue(market: TwoMachines) -> list[Measure]:
    """Lists of one machine, then of the other a few seconds later."""
    first = {user: shown_of(market.rank(0, user)) for user in market.users[:SHOPPERS]}
    time.sleep(3)
    again = [item in items for user, items in first.items() for item in shown_of(market.rank(1, user))]
    what = "of a list, shown by the other machine just before"
    return [Measure(what, float(np.mean(again)), "share", "<= 0")]


def shown_of(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def same_answers(market: TwoMachines, gathered: Path, folder: Path) -> list[Measure]:
    """One moment and seed, at both machines and alone."""
    differ, alone_differ = 0, 0
    with closing(SqliteLog(gathered)) as log, ThreadPoolExecutor(2) as pool:
        engine = build_engine(load_bundle((folder / "bundle").resolve()), log=log)
        for number, user in enumerate(market.users[:PAIRS]):
            time.sleep(1.5)  # what was shown before is known by then
            engine.read_log()
            moment, name = datetime.now(UTC), uuid.uuid4().hex
            alone = engine.preview(Request(name, moment, "home", user, k=10, seed=number)).ranking.slate
            asked = [{"time": moment.isoformat(), "seed": number} for _ in range(2)]
            one, two = pool.map(lambda machine, body: market.rank(machine, user, **body), (0, 1), asked)  # noqa: B023
            differ += one["items"] != two["items"]
            place = np.flatnonzero(alone.position > 0)[np.argsort(alone.position[alone.position > 0])]
            same = alone.item_id[place].tolist() == shown_of(one)
            for column in ("value", "propensity"):
                theirs = np.array([item[column] for item in one["items"]], float)
                same = same and np.allclose(theirs, getattr(alone, column)[place], rtol=1e-5, equal_nan=True)
            alone_differ += not same
    return [
        Measure("lists at one moment that differ between the machines, to the bit", differ, "lists", "<= 0"),
        Measure("of them, that differ from one process with the whole log", alone_differ, "lists", "<= 0"),
    ]


def gatherer(home: Path, broker: str, redis: str) -> subprocess.Popen[bytes]:
    settings = home / "client.properties"
    settings.write_text(f"bootstrap.servers={broker}\nsession.timeout.ms=1000\nheartbeat.interval.ms=200\n")
    into = ["--into", str(home / "all.sqlite"), "--features", redis, "--run", str(home / "run")]
    with (home / "consume.txt").open("a") as out:
        return subprocess.Popen([*PROGRAM, "consume", "--kafka", str(settings), *into], stdout=out, stderr=out)


def service(name: str, machine: tuple[str, str, str], home: Path, broker: str, redis: str) -> subprocess.Popen[bytes]:
    namespace, address, _ = machine
    place = ["--host", address, "--port", str(PORT), "--kafka", broker, "--features", redis, "--gathered"]
    command = ["ip", "netns", "exec", namespace, *PROGRAM, "serve", str(home / name), *place]
    with (home / f"{name}.txt").open("a") as out:
        return subprocess.Popen(command, stdout=out, stderr=out)


def measured(home: Path, market: TwoMachines, gather: Callable[[], subprocess.Popen[bytes]]) -> list[Measure]:
    child = gather()
    try:
        wait_until((home / "all.sqlite").exists, "the gathered log")
        for number in range(REQUESTS):
            if number == REQUESTS // 2:
                child.send_signal(signal.SIGKILL)
                child.wait()
                child = gather()
            market.shop(number)
        with closing(SqliteLog(home / "all.sqlite")) as gathered:
            counted(gathered, market)
            seconds = [market.seconds_to_the_other(number) for number in range(PROBES)]
            measures = [*fatigue(market), *same_answers(market, home / "all.sqlite", home / "run")]
            measures = counted(gathered, market) + measures
    finally:
        child.terminate()
        child.wait()
    p50, p99 = np.quantile(seconds, (0.5, 0.99))
    measures += [Measure("click to the other machine's features, p50", p50, "s")]
    return [*measures, Measure("click to the other machine's features, p99", p99, "s", "<= 1")]


def main() -> None:
    run = Path(os.environ.get("RUN", "runs/demo-simulated"))
    if not (run / "bundle").exists():
        skip("two_machines", f"{run} has no bundle; make it with `make demo`, or name another run in RUN")
    for program, package in (("redis-server", "redis-server"), ("ip", "iproute2")):
        if shutil.which(program) is None:
            skip("two_machines", f"{program} is not installed (apt-get install {package})")
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        both = stack.enter_context(machines())
        redis = stack.enter_context(redis_server(home, host=both[0][2]))
        broker = SmallBroker(home / "broker.log", host=both[0][2])
        broker.start()
        stack.callback(broker.kill)
        policy_of_two(run, home)
        users = load_bundle((home / "run" / "bundle").resolve()).catalogue.users["user_id"].to_pylist()
        for name, machine in zip(("one", "two"), both, strict=True):
            child = service(name, machine, home, broker.address, redis)
            stack.callback(child.wait)
            stack.callback(child.terminate)
        try:
            for _, address, _ in both:
                wait_until(lambda address=address: is_ready(address), f"the service at {address}")  # type: ignore[misc]
            market = TwoMachines([address for _, address, _ in both], home, users)
            measures = measured(home, market, lambda: gatherer(home, broker.address, redis))
        except Exception:
            for printed in sorted(home.glob("*.txt")):
                print(f"--- {printed.name}\n{printed.read_text()[-2000:]}", file=sys.stderr)
            raise
    if "REQUESTS" in os.environ:
        print_table("two_machines", measures)
        return
    record("two_machines", measures, data=f"{run.name}, two network namespaces of one machine", seed=SEED)


if __name__ == "__main__":
    main()
