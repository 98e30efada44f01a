"""Do sums of shards say what 100 M rows say, in memory that does not grow with the rows?

100 shards of 1 M units, each made, summed and dropped. The row-level answer makes the same units again and goes through
them twice: once for the means, once for the squares around them, which is how it is done where all rows are at hand.
"""

from __future__ import annotations

import time

import numpy as np
import psutil

from benchmarks.record import Measure, record
from evaluation.experiments.effects import Contrast, Ratio, effect
from evaluation.experiments.sums import UnitSums, unit_sums

NAME, SEED, SHARDS, ROWS = "experiments_sums", 7, 100, 1_000_000
COLUMNS = ("units", "clicks", "impressions", "clicks_before")
RATIO, BEFORE = Ratio("clicks", "impressions"), Ratio("clicks_before")


def shard(number: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns of the shard's units, and their arm."""
    rng = np.random.default_rng([SEED, number])
    taste = rng.random(ROWS, np.float32)
    impressions = rng.integers(1, 60, ROWS).astype(float)
    before = np.floor(40 * taste * rng.random(ROWS, np.float32)).astype(float)
    arm = rng.integers(0, 2, ROWS)
    clicks = np.floor(impressions * taste * (0.3 + 0.001 * arm)).astype(float)
    return {"clicks": clicks, "impressions": impressions, "clicks_before": before}, arm


def summed() -> tuple[UnitSums, list[float]]:
    """The sums of all shards, and the process's memory after each, in MB."""
    total, memory = None, []
    for number in range(SHARDS):
        part = unit_sums(*shard(number), groups=2)
        total = part if total is None else total + part
        memory.append(psutil.Process().memory_info().rss / 1e6)
    assert total is not None
    return total, memory


def by_rows(n: np.ndarray) -> UnitSums:
    """Sums whose products are those around the means, put back: the two passes over all rows."""
    total, centred = np.zeros((2, len(COLUMNS))), np.zeros((2, len(COLUMNS), len(COLUMNS)))
    for number in range(SHARDS):
        for arm, rows in enumerate(_arms(number)):
            total[arm] += rows.sum(axis=0)
    mean = total / n[:, None]
    for number in range(SHARDS):
        for arm, rows in enumerate(_arms(number)):
            away = rows - mean[arm]
            centred[arm] += away.T @ away
    return UnitSums(COLUMNS, n, total, centred + mean[:, :, None] * total[:, None, :])


def _arms(number: int) -> list[np.ndarray]:
    columns, arm = shard(number)
    matrix = np.column_stack([np.ones(ROWS), *columns.values()])
    return [matrix[arm == one] for one in (0, 1)]


def contrast(sums: UnitSums) -> Contrast:
    return effect(sums[0].means, sums[1].means, RATIO, covariates=(BEFORE,), relative=True)


def main() -> None:
    start = time.process_time()
    sums, memory = summed()
    seconds = time.process_time() - start
    ours, theirs = contrast(sums), contrast(by_rows(sums.n))
    apart = {
        name: float(abs(getattr(ours, name) - getattr(theirs, name)) / abs(getattr(theirs, name)))
        for name in ("value", "error")
    }
    measures = [
        Measure("rows", float(sums.n.sum()), "units", ">= 1e8"),
        Measure("effect from sums against rows, relative difference", apart["value"], "", "<= 1e-9"),
        Measure("its standard error, relative difference", apart["error"], "", "<= 1e-9"),
        Measure("memory after 100 shards less memory after 10", memory[-1] - memory[9], "MB", "<= 20"),
        Measure("making and summing", seconds, "CPU s"),
    ]
    record(NAME, measures, data="100 shards of 1 M sampled units, four columns", seed=SEED)


if __name__ == "__main__":
    main()
