"""What does a whole run cost on a million impressions? Seconds and peak memory of every stage.

Each stage runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.record import Measure, record
from jobs.config import RunConfig
from jobs.data import kept
from jobs.run import STAGES
from jobs.run_folder import RunFolder
from marketplace.slate_columns import item_offsets

FOLDER = Path("runs/benchmark-large")
SEED = 7
STAGE = "import sys; from pathlib import Path; from jobs.run import again; again(Path(sys.argv[1]), sys.argv[2])"


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    run = RunFolder.create(FOLDER, RunConfig(size="large", seed=SEED))
    for stage in STAGES:
        subprocess.run([sys.executable, "-c", STAGE, str(FOLDER), stage], check=True)
    impressions = int(item_offsets(kept(FOLDER).slates)[-1])
    measures = [Measure("impressions", impressions, "impressions", ">= 1000000")]
    for name, cost in run.stages.items():
        measures.append(Measure(f"{name}: time", cost["seconds"], "s"))
        measures.append(Measure(f"{name}: peak memory", cost["peak_mb"] / 1024, "GiB"))
    measures.append(Measure("whole run: time", sum(cost["seconds"] for cost in run.stages.values()), "s"))
    record("whole_run", measures, data="simulator, large size", seed=SEED)


if __name__ == "__main__":
    main()
