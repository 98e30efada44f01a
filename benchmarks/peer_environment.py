"""Peers' environment: a Python of its own with the packages of peers.txt, which want older ones than the project has.

`python3.10 -m venv ../peers && ../peers/bin/pip install -r benchmarks/peers.txt`, then
`PEER_PYTHON=../peers/bin/python make bench ONLY=NAME`. A peer's figures are kept beside its run.py, and stand as long
as the settings are the same; delete a file to have it made anew.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.record import skip

FOLDER = Path(__file__).parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def answer(benchmark: str, package: str, name: str, folder: Path, settings: dict[str, Any]) -> Any:
    """What PACKAGE/run.py says of the files in `folder` and of these settings, or what it said: PACKAGE/NAME.json."""
    kept = FOLDER / package / f"{name}.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    if known.get("settings") == settings:
        return known["answer"]
    python = peer_python(benchmark, package)
    (folder / "settings.json").write_text(json.dumps(settings))
    run = [python, FOLDER / package / "run.py", folder.absolute()]
    subprocess.run(run, check=True, cwd=folder, env=os.environ | ONE_THREAD | {"TQDM_DISABLE": "1"})
    result = json.loads((folder / "answer.json").read_text())
    kept.write_text(json.dumps({"settings": settings, "answer": result}) + "\n")
    return result


def peer_python(benchmark: str, package: str) -> Path:
    """The interpreter that $PEER_PYTHON names; skips the benchmark where it does not import the package."""
    named = os.environ.get("PEER_PYTHON")
    path = Path(named or "PEER_PYTHON").absolute()
    if not path.exists() or subprocess.run([path, "-c", f"import {package}"], capture_output=True).returncode:
        skip(benchmark, f"PEER_PYTHON={named} imports no {package}: see benchmarks/peer_environment.py")
    return path
