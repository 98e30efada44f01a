"""Ten million embeddings: what each index takes to build, in time and memory, what it finds of exact search, how quick.

Each is built in a process of its own as `[retrieval] index` and `faiss_form` name it, all else as it is by default. One
that misses the gate however much it is widened is built again without it, to tell what it finds by default. The
embeddings (2.4 GiB) lie in a file that is mapped, and count in each one's memory. HNSW is left out: at two minutes a
million it would take half an hour.
"""

from __future__ import annotations

import os

# Before NumPy and FAISS read it: one core is what a service worker has.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.index import catalogue, timed
from benchmarks.record import Measure, record
from retrieval.build import BUILDERS, RecallBelowGate, build_index
from retrieval.config import RetrievalConfig
from retrieval.stored_vectors import mapped

NAME, SEED = "index_large", 0
ROWS = int(os.environ.get("INDEX_ROWS", "10_000_000"))
QUERIES, FEW, K = 200, 50, 100
KINDS = ("exact", "scann", "faiss ivf_flat", "faiss ivf_pq")


def main() -> None:
    with TemporaryDirectory() as folder:
        items, queries = catalogue(np.random.default_rng(SEED), rows=ROWS, queries=QUERIES)
        for name, vectors in (("items", items), ("queries", queries)):
            np.save(Path(folder) / f"{name}.npy", vectors)
        del items, queries
        measures = [measure for kind in KINDS for measure in of_kind(kind, folder)]
    record(NAME, measures, data=f"{ROWS:,} x 64 unit vectors in 2,000 clusters, one thread", seed=SEED)


def of_kind(kind: str, folder: str) -> list[Measure]:
    command = [sys.executable, "-m", "benchmarks.index_large", kind, folder]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(kind, found, flush=True)
    gate = f">= {RetrievalConfig().gate}"
    return [
        Measure(f"{kind}{found['effort']}: recall@{K}", found["recall"], "share of exact", gate),
        Measure(f"{kind}: build", found["build"], "CPU s"),
        Measure(f"{kind}: peak memory, embeddings among it", found["peak"], "GiB"),
        Measure(f"{kind}: rate", found["rate"], "queries / CPU s"),
    ]


def built(kind: str, folder: Path) -> dict[str, float | str]:
    """What the index of one kind took, in this process, and what it answers."""
    name, _, form = kind.partition(" ")
    config = RetrievalConfig(gate_queries=QUERIES, **{"faiss_form": form} if form else {})
    items, queries = (mapped(folder / f"{part}.npy") for part in ("items", "queries"))
    build, seconds = BUILDERS[name], [0.0]

    def timed_build(embeddings: np.ndarray, config: RetrievalConfig):  # type: ignore[no-untyped-def]
        start = time.process_time()
        index = build(embeddings, config)
        seconds[0] = time.process_time() - start
        return index

    BUILDERS[name] = timed_build
    try:
        of_all = build_index(name, items, queries=queries, config=config)
    except RecallBelowGate as error:
        print(error, file=sys.stderr)
        of_all = build_index(name, items, queries=queries, config=replace(config, gate=0.0))
    effort = ", ".join(f"{part} {value}" for part, value in of_all.index.parameters.items() if part != "form")
    rate = 1e3 / np.median(timed(lambda query: of_all.index.search(query[None], k=K), queries[:FEW]))
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 2**20  # type: ignore[index]
    return {
        "recall": of_all.report.recall,
        "effort": f" ({effort})" if effort else "",
        "build": seconds[0],
        "peak": peak,
        "rate": float(rate),
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(built(sys.argv[1], Path(sys.argv[2]))))
    else:
        main()
