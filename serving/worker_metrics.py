"""The files in which workers count, in PROMETHEUS_MULTIPROC_DIR: one of each kind a living worker.

When a worker has ended, what it counted is added to the one file of all ended workers and its own are deleted, so that
sums never fall and the folder holds no more files than there are workers; its gauges are its own, and go with it.
Readers hold the folder's lock shared, whoever folds holds it alone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

ENDED = "ended"  # stands where the files of living workers have their process id
LOCK = "lock"


@contextmanager
def folder_lock(folder: Path, *, shared: bool) -> Iterator[None]:
    """The folder's lock, for as long as the block runs."""
    with (folder / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def fold_ended_worker(pid: int) -> None:
    """Add the counts of an ended worker to those of all ended ones; nothing where workers count by themselves."""
    if not (path := os.environ.get("PROMETHEUS_MULTIPROC_DIR")):
        return
    folder = Path(path)
    with folder_lock(folder, shared=False):
        for file in folder.glob(f"*_{pid}.db"):
            kind = file.name.removesuffix(f"_{pid}.db")
            if kind in ("counter", "histogram"):
                _add(file, folder / f"{kind}_{ENDED}.db")
            file.unlink()


def _add(file: Path, total: Path) -> None:
    sums = MmapedDict(str(total))
    for key, value, time, _ in MmapedDict.read_all_values_from_file(str(file)):
        sums.write_value(key, sums.read_value(key)[0] + value, time)
    sums.close()
