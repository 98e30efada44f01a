"""What does a service need to run, beside the whole install: how large is it, how soon is it there, does it work?

A fresh virtual environment gets the packages of deploy/serving.lock, hashes required, and the project's wheel. It and
the environment that `make` made, the tests' tools included, serve the demo market's bundle, and must rank the same
request alike. The tests of the service run in the fresh one, without those that need TensorFlow.

Size is that of the packages. Installing takes wheels from the cache where it has them. Ready = from the command to the
first 200 of /readyz; CPU is that of all its processes until then, memory what they alone hold (unique set size).
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from benchmarks.record import Measure, record, skip
from jobs.serve import free_port

ROOT, RUN = Path(__file__).parents[1], Path("runs/demo-simulated")
TIMES, WAIT = 3, 120.0
# What the tests need beside the service.
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "httpx", "jsonschema", "pillow", "psutil", "pyyaml")
CHOSEN = (("tests/serving", "-m", "not slow"), ("tests/serving/test_service_process.py", "-m", "slow"))
EXPORT = "from serving.export_bundle import export_bundle; from trained_market import trained_market"
PLAIN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
REQUEST: dict[str, Any] = {"surface": "home", "user_id": "u1", "k": 20, "seed": 3, "time": "2025-03-03T15:00:00+00:00"}


@dataclass(frozen=True)
class Environment:
    """A fresh virtual environment in `folder`."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def megabytes(self) -> float:
        sizes = subprocess.run(["du", "-sb", self.folder / "lib"], check=True, capture_output=True, text=True).stdout
        return int(sizes.split()[0]) / 1e6

    @property
    def packages(self) -> int:
        return len(list((self.folder / "lib").glob("*/site-packages/*.dist-info")))

    @classmethod
    def fresh(cls, folder: Path) -> Environment:
        venv.create(folder, with_pip=True)
        return cls(folder)

    def install(self, *words: str | Path) -> None:
        # Isolated, so that the sources do not pass for an installed package.
        pip: list[str | Path] = [self.python, "-I", "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", "--disable-pip-version-check", *words], check=True)


@dataclass(frozen=True)
class Started:
    """Seconds until the service was ready, CPU seconds and megabytes of its processes then, and the items it shows."""

    seconds: float
    cpu: float
    megabytes: float
    shown: tuple[str, ...]


def main() -> None:
    if not (RUN / "bundle").exists():
        skip("serving_environment", f"{RUN} is not there; make it with `make demo`")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        wheel = _wheel(folder)
        serving, measures = _serving(folder, wheel)
        whole = Environment(Path(sys.prefix))
        other = [
            Measure("whole: packages", float(whole.packages), "packages"),
            Measure("whole: size", whole.megabytes, "MB"),
        ]
        bundle = (RUN / "bundle").resolve()
        alone, beside = ([started(one, bundle, folder) for _ in range(TIMES)] for one in (serving, whole))
        measures += other + _starts("serving", alone) + _starts("whole", beside)
        measures.append(Measure("requests ranked otherwise than by the whole", _differ(alone, beside), "", "<= 0"))
        measures += tests(serving, folder)
    record("serving_environment", measures, data=f"the demo market's bundle, started {TIMES} times", seed=3)


def _wheel(folder: Path) -> Path:
    """Made of a copy, so that nothing of an earlier build gets into it."""
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _serving(folder: Path, wheel: Path) -> tuple[Environment, list[Measure]]:
    environment = Environment.fresh(folder / "serving")
    locked = ("--require-hashes", "--only-binary", ":all:", "--requirement", ROOT / "deploy" / "serving.lock")
    measures = _installed("serving", environment, locked, ("--no-deps", wheel))
    imported = subprocess.run([environment.python, "-c", "import tensorflow"], capture_output=True).returncode == 0
    return environment, [*measures, Measure("serving: TensorFlow is there", float(imported), "", "<= 0")]


def _installed(name: str, environment: Environment, *steps: tuple[str | Path, ...]) -> list[Measure]:
    before, packages, begin = environment.megabytes, environment.packages, time.perf_counter()
    for step in steps:
        environment.install(*step)
    return [
        Measure(f"{name}: packages", float(environment.packages - packages), "packages"),
        Measure(f"{name}: size", environment.megabytes - before, "MB"),
        Measure(f"{name}: installed in", time.perf_counter() - begin, "s"),
    ]


def started(environment: Environment, bundle: Path, folder: Path) -> Started:
    """One service on `bundle` with a log of its own, asked for one page and stopped."""
    port, log = free_port(), Path(tempfile.mkdtemp(dir=folder)) / "log.sqlite"
    command = [environment.folder / "bin" / "value-model", "serve", bundle, "--port", str(port), "--log", log]
    begin = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), cwd=folder, env=PLAIN, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        while not _ready(address):
            if process.poll() is not None or time.perf_counter() - begin > WAIT:
                raise RuntimeError(f"the service of {environment.folder.name} did not start")
            time.sleep(0.01)
        seconds = time.perf_counter() - begin
        family = [one := psutil.Process(process.pid), *one.children(recursive=True)]
        times = [one.cpu_times() for one in family]
        answer = requests.post(f"{address}/v1/recommend", json=REQUEST, timeout=20)
        answer.raise_for_status()
        return Started(
            seconds,
            sum(one.user + one.system for one in times),
            sum(one.memory_full_info().uss for one in family) / 1e6,
            tuple(item["item_id"] for item in answer.json()["items"]),
        )
    finally:
        process.terminate()
        process.wait(timeout=60)


def _ready(address: str) -> bool:
    try:
        return requests.get(f"{address}/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def _starts(name: str, starts: list[Started]) -> list[Measure]:
    return [
        Measure(f"{name}: ready in, median", statistics.median(one.seconds for one in starts), "s"),
        Measure(f"{name}: ready in, CPU, median", statistics.median(one.cpu for one in starts), "s"),
        Measure(f"{name}: memory when ready, median", statistics.median(one.megabytes for one in starts), "MB"),
    ]


def _differ(alone: list[Started], beside: list[Started]) -> float:
    return float(sum(one.shown != beside[0].shown for one in (*alone, *beside)))


def tests(serving: Environment, folder: Path) -> list[Measure]:
    """Runs tests/serving there, and the slow proofs of the process, on a bundle that this environment exports."""
    bundle = folder / "bundle"
    export = f"{EXPORT}; from pathlib import Path; export_bundle(trained_market(), Path({str(bundle)!r}))"
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "serving")))
    subprocess.run([sys.executable, "-c", export], check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths})
    serving.install("--constraint", ROOT / "constraints.txt", *TOOLS)
    count: Counter[str] = Counter()
    for number, chosen in enumerate(CHOSEN):
        report = folder / f"{number}.xml"
        pytest: list[str | Path] = [serving.python, "-m", "pytest", *chosen]
        pytest += ["-p", "no:cacheprovider", f"--junitxml={report}"]
        subprocess.run(pytest, cwd=ROOT, env=os.environ | {"VALUE_MODEL_TEST_BUNDLE": str(bundle)})
        (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
        count.update({name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")})
    failed = count["failures"] + count["errors"]
    return [
        Measure("tests of the service: passed", float(count["tests"] - failed - count["skipped"]), "tests"),
        Measure("tests of the service: failed", float(failed), "tests", "<= 0"),
        Measure("tests of the service: skipped", float(count["skipped"]), "tests"),
    ]


if __name__ == "__main__":
    main()
