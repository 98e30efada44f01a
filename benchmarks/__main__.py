"""`make bench` and `make bench ONLY=name`: run the benchmarks, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
NOT_BENCHMARKS = {"__main__", "__init__", "record", "pages", "small_broker"}
NOT_BENCHMARKS |= {
    "capacity",
    "serving_bundle",
    "redis_server",
    "spark_cluster",
    "request_path",
    "chorus",
    "peers",
    "experiment_units",
    "peer_environment",
    "faulty_market",
    "simulated_rows",
    "demo_run",
    "tuning_market",
}


def main(selected: list[str]) -> int:
    names = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NOT_BENCHMARKS)
    unknown = sorted(set(selected) - set(names))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(names)}", file=sys.stderr)
        return 2
    failed = [name for name in selected or names if subprocess.call([sys.executable, "-m", f"benchmarks.{name}"])]
    if failed:
        print("failed: " + ", ".join(failed), file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
