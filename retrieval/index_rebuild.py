"""An index built anew by another process, so that the one that serves goes on answering meanwhile.

The process reads embeddings, sample queries and settings from a folder and leaves the index in it. What is loaded
stays mapped after the folder is gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from retrieval.build import BuiltIndex, build_index, load_index, save_index
from retrieval.config import RetrievalConfig
from retrieval.stored_vectors import mapped

NICENESS = 10  # the service comes first


class RebuildFailed(RuntimeError):
    """The other process could not build the index; the message is the end of what it printed."""


def rebuilt(embeddings: np.ndarray, queries: np.ndarray, *, config: RetrievalConfig) -> BuiltIndex:
    """The index of `config.index` over float32 [m, d], measured on queries [q, d].

    Raises RebuildFailed, for instance where recall is below the gate.
    """
    with TemporaryDirectory(prefix="index-") as name:
        folder = Path(name)
        np.save(folder / "embeddings.npy", embeddings, allow_pickle=False)
        np.save(folder / "queries.npy", queries, allow_pickle=False)
        (folder / "settings.json").write_text(config.to_json())
        command = [sys.executable, "-m", "retrieval.index_rebuild", name]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RebuildFailed(done.stderr.strip()[-500:])
        return load_index(folder / "index")[0]


def main(folder: Path) -> None:
    os.nice(NICENESS)
    config = RetrievalConfig.from_json((folder / "settings.json").read_text())
    embeddings = mapped(folder / "embeddings.npy")
    built = build_index(config.index, embeddings, queries=mapped(folder / "queries.npy"), config=config)
    save_index(built, folder / "index", item_ids=[""] * len(embeddings))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
