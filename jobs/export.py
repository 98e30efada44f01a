"""Turn a trained run into a bundle: everything that the service and TF-Serving load, checked before it is named.

Bundles are kept in bundles/1, bundles/2, ...; `bundle` is a link to the newest, which a running service follows.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from features.encoder import Encoder
from features.store import MemoryStore
from jobs.data import kept
from jobs.defaults import policy_of
from jobs.run_folder import RunFolder
from marketplace.dataset import Dataset
from marketplace.splits import microseconds
from retrieval.blend import Blend
from retrieval.build import load_index
from retrieval.sources.run_sources import RunSources
from retrieval.two_tower import TwoTower
from serving.config import ServingConfig
from serving.export_bundle import TrainedParts, export_bundle
from serving.manifest import point_current
from value_model.rankers.calibration import Calibration
from value_model.rankers.mmoe import MMoE

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def export(run: RunFolder) -> None:
    """Write the next bundle and point `bundle` to it; the store and the sources know everything recorded."""
    dataset = kept(run.path)
    until = last_moment(dataset) + 1
    encoder = Encoder.from_json((run.path / "retrieval" / "encoder.json").read_text())
    index, _ = load_index(run.path / "retrieval" / "index")
    run_sources = RunSources(dataset, segment=dataset.segment, index=index).advance(until)
    known_until = EPOCH + timedelta(microseconds=until)
    trained = TrainedParts(
        dataset=dataset,
        store=MemoryStore.of(dataset, spec=encoder.spec, until=known_until),
        known_until=known_until,
        encoder=encoder,
        ranker=MMoE.load(run.path / "ranker" / "mmoe"),
        calibration=Calibration.load(run.path / "ranker" / "calibration.json"),
        policy=policy_of(dataset, run.config),
        sources=run_sources.sources,
        quotas=run_sources.quotas,
        blend=Blend.load(run.path / "retrieval" / "blend.json"),
        towers=TwoTower.load_towers(run.path / "retrieval"),
        index=index,
        config=ServingConfig(segment=dataset.segment),
        metrics=metrics(run),
    )
    folder = next_bundle(run)
    with messages_to(run.path / "export.log"):
        manifest = export_bundle(trained, folder)
    point_current(run.path / "bundle", folder)
    print(f"   {folder}: version {manifest.version}, twins agree within 1e-5, {run.path / 'bundle'} points to it")


@contextmanager
def messages_to(path: Path) -> Iterator[None]:
    """Send what TensorFlow's converters print to a file: pages of notes that concern nobody unless an export fails."""
    sys.stderr.flush()
    kept_stderr = os.dup(2)
    with path.open("w") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept_stderr, 2)
            os.close(kept_stderr)


def last_moment(dataset: Dataset) -> int:
    """UTC microseconds of the last thing recorded."""
    times = [microseconds(table["time"]).max() for table in (dataset.slates, dataset.feedback) if len(table)]
    return int(max(times))


def metrics(run: RunFolder) -> dict[str, object]:
    """What retrieval's and the ranker's evaluations said."""
    files = {"retrieval": run.path / "retrieval" / "recall.json", "ranker": run.path / "evaluation" / "metrics.json"}
    return {name: json.loads(path.read_text()) for name, path in files.items() if path.exists()}


def next_bundle(run: RunFolder) -> Path:
    """The folder after the newest bundle."""
    numbers = [int(path.name) for path in run.part("bundles").iterdir() if path.name.isdigit()]
    return run.path / "bundles" / str(max(numbers, default=0) + 1)
