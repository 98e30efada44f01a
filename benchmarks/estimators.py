"""How fast are the off-policy estimators: 1 M decisions x 20 actions, beside obp's seven in obp's own environment.

obp runs in a fresh environment of Python 3.10 with the last numpy, pandas and scikit-learn that it supports; without a
Python 3.10 the benchmark is skipped. $PYTHON310 names one that is not on PATH. Both sides run on one thread, in
turns, and are timed by the processor time they use.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.record import Measure, record, skip
from evaluation.counterfactual.decisions import policy_values, read

ROWS, ACTIONS, SEED, ROUNDS = 1_000_000, 20, 7, 5
PACKAGES = ("numpy<2", "pandas<2", "scikit-learn<1.3", "scipy", "pyyaml", "tqdm", "matplotlib", "seaborn")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def arrays() -> dict[str, np.ndarray]:
    """A log of ROWS decisions under a random policy, another policy and a noisy reward model."""
    rng = np.random.default_rng(SEED)
    logging, policy = (rng.dirichlet(np.full(ACTIONS, 2.0), ROWS) for _ in range(2))
    action = (rng.random((ROWS, 1)) > np.cumsum(logging, axis=1)[:, :-1]).sum(axis=1)
    rate = rng.beta(1, 20, (ROWS, ACTIONS))
    rows = np.arange(ROWS)
    reward = (rng.random(ROWS) < rate[rows, action]).astype(float)
    model = np.clip(rate + rng.normal(0, 0.02, rate.shape), 0, 1)
    return {
        "reward": reward, "action": action, "propensity": logging[rows, action], "policy": policy, "model": model
    }  # fmt: skip


def environment(folder: Path) -> Path:
    """obp's Python, made in `folder`; ends the benchmark with the reason where that is impossible."""
    python = os.environ.get("PYTHON310") or shutil.which("python3.10")
    if not python or subprocess.run([python, "--version"], capture_output=True).returncode:
        skip("estimators", "no Python 3.10 for obp on PATH; name one in PYTHON310")
    subprocess.run([str(python), "-m", "venv", str(folder / "obp")], check=True)
    pip = [str(folder / "obp/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*pip, *PACKAGES]).returncode or subprocess.run([*pip, "--no-deps", "obp==0.5.7"]).returncode:
        skip("estimators", "obp could not be installed")
    return folder / "obp/bin/python"


def theirs(python: Path, folder: Path) -> dict:
    run = Path(__file__).parent / "obp" / "run.py"
    files = [str(folder / "arrays.npz"), str(folder / "answer.json")]
    subprocess.run([str(python), str(run), *files, "3"], check=True, env=os.environ | ONE_THREAD)
    return json.loads((folder / "answer.json").read_text())


def ours(data: dict[str, np.ndarray]) -> tuple[dict[str, float], list[float]]:
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        values = policy_values(
            read(data["reward"], data["action"], data["propensity"], data["policy"], model=data["model"])
        )
        seconds.append(time.process_time() - start)
    return dict(values), seconds


def main() -> None:
    data = arrays()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "arrays.npz", **data)
        python = environment(folder)
        answer, (values, seconds) = theirs(python, folder), ours(data)
        again, more = theirs(python, folder), ours(data)[1]
    # Medians: a pass of ours is short enough to find a quiet moment of a busy machine, one of theirs is not.
    slow, fast = np.median(answer["seconds"] + again["seconds"]), np.median(seconds + more)
    apart = max(abs(values[name] - value) for name, value in answer["values"].items())
    measures = [
        Measure("obp 0.5.7, its seven estimators", float(slow), "CPU s"),
        Measure("all of ours but MIPS (eight), one pass", float(fast), "CPU s"),
        Measure("speed-up", float(slow / fast), "x", ">= 12"),
        Measure("largest difference of the seven", apart, "reward", "<= 1e-12"),
    ]
    record(
        "estimators", measures, data=f"{ROWS:,} sampled decisions x {ACTIONS} actions, medians of 6 and 10", seed=SEED
    )


if __name__ == "__main__":
    os.environ.update(ONE_THREAD)
    main()
