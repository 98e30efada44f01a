"""A run that is killed in the middle of each fit, and started again, ends where one that was left alone does."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.run_folder import CHECKPOINT, RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run")]
ROOT = Path(__file__).parents[2]
PATIENCE = 600  # seconds that a fit may take to its first checkpoint


def command(folder: Path) -> list[str]:
    """That of the run_folder."""
    settings = [f"--set={one}" for one in ("retrieval.epochs=2", "training.epochs=2", "variety.shoppers=40")]
    start = "from jobs.cli import main; main()"
    return [sys.executable, "-c", start, "run", "--size", "small", *settings, "--out", str(folder)]


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """What was learned."""
    result = {}
    for path in sorted(path for part in ("retrieval", "ranker") for path in (folder / part).rglob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            numbered = enumerate(file.values())  # names may hold Keras' count of a process's layers
            result |= {f"{path.relative_to(folder)} {number}": values for number, values in numbered}
    return result


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Each entry of parsed JSON by its path."""
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, part in parts:
        yield from leaves(part, f"{name}/{key}")
    if not isinstance(tree, dict | list):
        yield name, tree


def test_it_ends_where_an_uninterrupted_one_does(run_folder, tmp_path):
    """In other processes, of other hash seeds: the same settings and seed give the same weights and metrics.

    To the rounding of the ranker's sums, which threads share out anew each time.
    """
    folder, environment = tmp_path / "run", {**os.environ, "PYTHONHASHSEED": "11"}
    for stage in ("retrieval", "ranker"):
        process = subprocess.Popen(command(folder), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        until = time.monotonic() + PATIENCE
        while not (folder / stage / CHECKPOINT).exists():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert stage not in RunFolder.open(folder).stages
    subprocess.run(command(folder), cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    for name in ("retrieval/recall.json", "retrieval/losses.json", "ranker/losses.json", "evaluation/metrics.json"):
        ours, theirs = (dict(leaves(json.loads((run / name).read_text()))) for run in (folder, run_folder))
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5, nan_ok=True), name
    ours, theirs = arrays(folder), arrays(run_folder)
    assert list(ours) == list(theirs)
    for name, values in theirs.items():
        close = {"rtol": 1e-4, "atol": 1e-5} if values.dtype.kind == "f" else {"rtol": 0}
        np.testing.assert_allclose(ours[name], values, err_msg=name, **close)
