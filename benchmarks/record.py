"""How a benchmark reports: a table on the screen and benchmarks/results/NAME.json.

Each measure has its name, value, interval, unit, bar (text such as ">= 0.877", or None) and whether the bar was met.
"""

from __future__ import annotations

import json
import operator
import platform
import sys
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
VERSIONS = ("numpy", "tensorflow", "lightgbm", "scann", "onnxruntime", "pyarrow")


@dataclass(frozen=True)
class Measure:
    """One figure; `interval` is (low, high) at 95 %; `bar` is ">= 0.8" or a range "0.95-1.05", None = no bar."""

    name: str
    value: float
    unit: str
    bar: str | None = None
    interval: tuple[float, float] | None = None

    @property
    def met(self) -> bool | None:
        if self.bar is None:
            return None
        if self.bar[0].isdigit():
            low, high = map(float, self.bar.split("-"))
            return low <= self.value <= high
        sign, bound = self.bar.split()
        return bool(COMPARE[sign](self.value, float(bound)))


def record(name: str, measures: list[Measure], *, data: str, seed: int | None) -> None:
    """Print the table and write the result file of benchmark `name`."""
    print_table(name, measures)
    result = {
        "name": name,
        "data": data,
        "seed": seed,
        "command": f"make bench ONLY={name}",
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in VERSIONS},
        "measures": [asdict(measure) | {"met": measure.met} for measure in measures],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def skip(name: str, reason: str) -> None:
    """Say why a benchmark could not run, and leave its last result alone."""
    print(f"{name}: skipped: {reason}")
    sys.exit(0)


def print_table(name: str, measures: list[Measure]) -> None:
    table = Table("measure", "value", "95 % interval", "unit", "bar", "met", title=name)
    for row in measures:
        interval = "" if row.interval is None else f"{row.interval[0]:.4g} .. {row.interval[1]:.4g}"
        met = {True: "yes", False: "NO", None: ""}[row.met]
        table.add_row(row.name, f"{row.value:.4g}", interval, row.unit, row.bar or "", met)
    Console(width=140).print(table)
