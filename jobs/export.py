"""Turn a trained run into a bundle: everything that the service and TF-Serving load, checked before it is named.

Bundles are kept in bundles/1, bundles/2, ...; `bundle` is a link to the newest, which a running service follows.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from desk.publication import ServedPolicy
from evaluation.report import add_served
from features.encoder import Encoder
from features.spec import ModelInputs
from features.store import MemoryStore
from jobs.data import kept
from jobs.defaults import policy_of
from jobs.home_variety import home_variety
from jobs.run_file import changed_settings, to_toml
from jobs.run_folder import RunFolder
from jobs.run_rankers import choice_of, served_ranker
from jobs.run_surfaces import recipes_of
from jobs.spark_work import pairs_of
from marketplace.dataset import Dataset
from marketplace.schema import microseconds_of, moment_of
from marketplace.splits import microseconds
from retrieval.blend import load_blends
from retrieval.build import BuiltIndex, load_index
from retrieval.saved_sources import BLENDS
from retrieval.sources.run_sources import RunSources
from retrieval.two_tower import TwoTower
from serving.bundle import load_bundle
from serving.bundle_service import next_bundle, published_policy
from serving.config import ServingConfig
from serving.export_bundle import TrainedParts, export_bundle
from serving.manifest import Manifest, point_current
from serving.parity import TOLERANCE
from serving.policy_bundle import write_policy_bundle
from value_model.formula import ValuePolicy
from value_model.rankers.calibration import Calibration

ROWS = "rows.npz"  # real inputs, of the ranker's test period, that its exports are compared on


def export(run: RunFolder) -> None:
    """Write the next bundle and point `bundle` to it; the store and the sources know everything recorded.

    What was published stays in force; a trial ends.
    """
    dataset, now = kept(run.path), datetime.now(UTC)
    until = last_moment(dataset, now=now) + 1
    encoder = Encoder.from_json((run.path / "retrieval" / "encoder.json").read_text())
    index, towers = _towers(run.path / "retrieval")
    known_until = moment_of(until)
    store = MemoryStore.of(dataset, spec=encoder.spec, until=known_until)
    run_sources = RunSources(
        dataset,
        segment=dataset.segment,
        index=index,
        catalogue=store.catalogue,
        config=run.config.sources,
        pairs_of=pairs_of(run),
    ).advance(until)
    ranker, calibration = served_ranker(run) if run.heads else (None, Calibration())
    trained = TrainedParts(
        dataset=dataset,
        store=store,
        known_until=known_until,
        encoder=encoder,
        ranker=ranker,
        calibration=calibration,
        run_facts=facts(run),
        run_file=to_toml(run.config),
        policy=published_policy(run.path) or policy_of(dataset, run.config, heads=run.heads),
        rows=load_rows(run.path / "ranker" / ROWS) if run.heads else None,
        sources=run_sources.sources,
        recipes=recipes_of(run, run_sources.names),
        blends=load_blends(run.path / "retrieval" / BLENDS),
        towers=towers,
        index=index,
        config=ServingConfig(segment=dataset.segment, **asdict(run.config.phases)),
        metrics=metrics(run),
        catalogue_until=min(known_until, now),  # simulated data may end later than today
    )
    folder = next_bundle(run.path)
    with messages_to(run.path / "export.log"):
        manifest = export_bundle(trained, folder)
    point_current(run.path / "bundle", _with_published(run.path, folder, trained.policy))
    print(f"   {folder}: version {manifest.version}, {_agreement(manifest)}{run.path / 'bundle'} points to it")
    _report_variety(run, folder)


def _with_published(home: Path, folder: Path, exported: ValuePolicy) -> Path:
    """The bundle in `folder`, or one over it with the policy that was published while it was exported."""
    policy = published_policy(home)
    if policy is None or policy.version == exported.version:
        return folder
    place = next_bundle(home)
    write_policy_bundle(folder, ServedPolicy(policy), place)
    return place


def _report_variety(run: RunFolder, folder: Path) -> None:
    """Print how many shoppers get the same item on home, with an alarm where too many do, and add it to the report."""
    variety = home_variety(load_bundle(folder), shoppers=run.config.variety.shoppers)
    if variety is None:
        return
    lines = [str(variety), *filter(None, [variety.alarm(run.config.variety.most)])]
    for line in lines:
        print("   " + line)
    if (page := run.path / "evaluation" / "report.html").exists():
        add_served(page, lines)


def save_rows(inputs: ModelInputs, path: Path) -> None:
    """Keep real inputs for the export."""
    np.savez(path, allow_pickle=False, **{field.name: getattr(inputs, field.name) for field in fields(ModelInputs)})


def load_rows(path: Path) -> ModelInputs:
    """What `save_rows` kept."""
    with np.load(path, allow_pickle=False) as columns:
        return ModelInputs(**columns)


def _towers(folder: Path) -> tuple[BuiltIndex | None, TwoTower | None]:
    """The index and the towers of a run; none where nothing was recorded to train them on."""
    if not (folder / "index").exists():
        return None, None
    return load_index(folder / "index")[0], TwoTower.load_towers(folder)


def _agreement(manifest: Manifest) -> str:
    """How well the exports of the ranker agree, and a warning where they do not at drawn extremes."""
    if "twins_differ" not in manifest.facts:
        return ""
    extremes = float(manifest.facts["twins_differ_at_extremes"])
    warning = "" if extremes <= TOLERANCE else f" (at drawn extremes they differ by {extremes:.0e} of a head's largest)"
    return f"exports agree within {float(manifest.facts['twins_differ']):.0e} on the run's own rows{warning}, "


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


def facts(run: RunFolder) -> dict[str, str | float]:
    """What a bundle's manifest says of its run: settings that are not the defaults, and which ranker serves, why."""
    settings = {"settings": ", ".join(changed_settings(run.config)) or "defaults"}
    return settings | (choice_of(run).facts if run.heads else {})


def last_moment(dataset: Dataset, *, now: datetime) -> int:
    """UTC microseconds of the last thing recorded; `now` where nothing was."""
    times = [microseconds(table["time"]).max() for table in (dataset.slates, dataset.feedback) if len(table)]
    return int(max(times, default=microseconds_of(now)))


def metrics(run: RunFolder) -> dict[str, object]:
    """What retrieval's and the ranker's evaluations said."""
    files = {"retrieval": run.path / "retrieval" / "recall.json", "ranker": run.path / "evaluation" / "metrics.json"}
    return {name: json.loads(path.read_text()) for name, path in files.items() if path.exists()}
