"""Which files does one request enter, in order, and how often does the straight line come back to one of them?

python -m benchmarks.request_path BUNDLE

POST /v1/recommend on an engine over the bundle, traced with `sys.setprofile`. An entry is a call from one file of the
packages into another. Printed in order of first entry, indented by depth, with the number of visits by the request's
own line, the routes of rankings, `RankingEngine` and its candidate features: calls of neighbouring files in between
end a visit.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

from marketplace.memory_log import MemoryLog
from serving.app import create_app
from serving.bundle import build_engine, load_bundle

HOME = Path(__file__).parents[1]
PACKAGES = ("marketplace", "features", "retrieval", "value_model", "serving")
LINE = ("serving/routes/rankings.py", "serving/engine.py", "serving/candidate_features.py")
STOPWATCH = "serving/stages.py"


class Trace:
    """Entries (depth, caller, callee) of one thread."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, str, str]] = []
        self._stack: list[str] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        file = relative(frame.f_code.co_filename)
        if file is None or frame.f_code.co_name == "<module>":
            return
        if event == "call":
            if self._stack and self._stack[-1] != file:
                self.entries.append((len(set(self._stack)), self._stack[-1], file))
            self._stack.append(file)
        elif event == "return" and self._stack:
            self._stack.pop()

    def files(self) -> dict[str, int]:
        """Depth by file, in order of first entry."""
        depth: dict[str, int] = {}
        for level, _, file in self.entries:
            depth.setdefault(file, level)
        return depth

    def visits(self) -> dict[str, int]:
        """By file, how often the straight line enters it after it was elsewhere."""
        steps = [file for _, caller, file in self.entries if caller in LINE and file not in (*LINE, STOPWATCH)]
        visits: dict[str, int] = {}
        for file, _ in groupby(steps):
            visits[file] = visits.get(file, 0) + 1
        return visits


def relative(name: str) -> str | None:
    path = Path(name)
    if not path.is_relative_to(HOME):
        return None
    inside = path.relative_to(HOME)
    return str(inside) if inside.parts[0] in PACKAGES else None


def trace(folder: Path) -> Trace:
    """Of the second of two requests, so that nothing is made for the first time."""
    bundle = load_bundle(folder)
    engine = build_engine(bundle, log=MemoryLog())
    client = create_app(engine).test_client()
    body = {"surface": "home", "user_id": bundle.catalogue.users["user_id"][0].as_py(), "k": 10}
    body["time"] = engine.parts.known_until.isoformat()
    client.post("/v1/recommend", json=body)
    traced = Trace()
    sys.setprofile(traced)
    try:
        answer = client.post("/v1/recommend", json=body)
    finally:
        sys.setprofile(None)
    assert answer.status_code == 200, answer.text
    return traced


def main(folder: Path) -> None:
    traced = trace(folder)
    visits, files = traced.visits(), traced.files()
    for file, depth in files.items():
        print(f"{'  ' * depth}{file}" + (f"  x {visits[file]}" if visits.get(file, 0) > 1 else ""))
    repeated = [file for file, count in visits.items() if count > 1]
    print(f"{len(files)} files, {len(visits)} entered by the line itself; by it more than once: {repeated}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
