"""Fingerprint of a run's data: SHA-256 of the files that it was read from, so that a change of them is noticed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from jobs.run_folder import CHECKPOINT, RunFolder
from marketplace.log_place import is_address, shown_place
from marketplace.open_log import open_log

KEPT = "files.json"  # in data/: file -> its SHA-256
FITS = ("retrieval", "ranker")  # whose checkpoints are of a fit that was interrupted, on the former data


def fingerprint(data: str) -> dict[str, str]:
    """SHA-256 by file of a mapping and its exports, or of a log; nothing for data that do not change."""
    from marketplace.datasets.mapping import files_of

    if is_address(data):
        return {shown_place(data): _sha256_of_ids(data)}
    path = Path(data)
    named = {".toml": files_of, ".sqlite": lambda log: [log]}.get(path.suffix, lambda _: [])(path)
    files = [file for name in named for file in (sorted(name.rglob("*")) if name.is_dir() else [name])]
    return {str(file): _sha256(file) for file in files if file.is_file()}


def _sha256_of_ids(address: str) -> str:
    """Of a log that is no file: of the ids of all that it holds, which is never changed."""
    log = open_log(address)
    ids = (log.slates(columns=("request_id",))["request_id"], log.feedback()["feedback_id"])
    log.close()
    return hashlib.sha256(json.dumps([column.to_pylist() for column in ids]).encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def keep_fingerprint(run: RunFolder) -> None:
    """Write data/files.json."""
    (run.part("data") / KEPT).write_text(json.dumps(fingerprint(run.config.data), indent=1) + "\n")


def changed_files(run: RunFolder) -> list[str]:
    """The files that are not as they were when the run read them; checkpoints of fits on them are removed."""
    kept, now = run.path / "data" / KEPT, fingerprint(run.config.data)
    before = json.loads(kept.read_text()) if kept.exists() else now
    changed = sorted(file for file in before | now if before.get(file) != now.get(file))
    for fit in FITS if changed else ():
        (run.path / fit / CHECKPOINT).unlink(missing_ok=True)
    return changed
