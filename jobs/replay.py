"""Replay of a service's log: every slate again through the bundle that served it, and the skew of its features.

A slate must replay to the same bits from its features as they were logged. The skew table says how far these features
are from what the bundle's feature store, told what the log holds before the slate, would have known.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from evaluation.experiments.experiment_folder import EXPERIMENTS, FolderContent, read_folder
from features.store import FeatureStore
from jobs.tables import print_section
from marketplace.catalogue_records import CatalogueRecord
from marketplace.log_place import Place, home_of, shown_place
from marketplace.memory_log import MemoryLog
from marketplace.open_log import open_log
from marketplace.slate import Slate, table_to_slates
from retrieval.surfaces import read_surfaces
from serving.arms import variant_policy
from serving.bundle import ModelBundle, build_engine, load_bundle
from serving.interleaving import interleaved_version
from serving.manifest import BundleError, open_manifest
from serving.replay import replay
from serving.skew import FeatureSkew, skew_of

NAMED = 10  # differing slates on the screen

Versions = frozenset[tuple[str, str]]  # (part, content hash) of a bundle


@dataclass(frozen=True)
class ReplayReport:
    """What became of `slates` slates.

    `differing`: request id -> the columns that are not the same bits. `without_bundle`: versions -> slates that name
    them, and no bundle does.
    """

    slates: int
    differing: Mapping[str, tuple[str, ...]]
    without_bundle: Mapping[Versions, int]
    skew: Mapping[str, FeatureSkew]

    @property
    def replayed(self) -> int:
        return self.slates - sum(self.without_bundle.values())

    @property
    def same(self) -> int:
        return self.replayed - len(self.differing)

    def to_json(self) -> str:
        gone = [{"versions": dict(sorted(versions)), "slates": n} for versions, n in self.without_bundle.items()]
        skew = {name: asdict(part) | {"mean_difference": part.mean_difference} for name, part in self.skew.items()}
        counts = {"slates": self.slates, "same": self.same}
        return json.dumps(counts | {"differing": dict(self.differing), "without_bundle": gone, "skew": skew}, indent=1)


def replay_log(place: Place, *, home: Path | None = None, out: Path | None = None) -> int:
    """Replay the log at `place` through the bundles in `home` (None = beside it); `out` takes the report as JSON.

    The exit code: 1 where a slate did not replay to the same bits, or none has its bundle there.
    """
    log = open_log(place)
    slates, feedback, records = log.slates(), log.feedback(), log.catalogue_after(0)[0]
    log.close()
    if not len(slates):
        raise ValueError(f"{shown_place(place)} holds no slates yet: serve some requests first (`value-model serve`).")
    home = home or home_of(place)
    folders = bundle_folders(home)
    report = replay_slates(slates, feedback, folders=folders, experiments=home / EXPERIMENTS, records=records)
    if out is not None:
        out.write_text(report.to_json() + "\n")
    print_replay(report, title=shown_place(place))
    return int(bool(report.differing) or not report.replayed)


def bundle_folders(home: Path) -> dict[Versions, Path]:
    """By their versions, the bundles of a run, `bundles/N` and `bundle`; a damaged one is named and left out.

    A bundle answers under its policies and recipes, and those of the run's experiments.
    """
    folders: dict[Versions, Path] = {}
    content = read_folder(home / EXPERIMENTS)
    for manifest in (*sorted(home.glob("bundles/*/manifest.json")), *home.glob("bundle/manifest.json")):
        try:
            opened = open_manifest(manifest.parent)
        except BundleError as error:
            print(f"left out: {error}")
            continue
        versions, staged = opened.versions, opened.facts.get("staged_policy")
        policies, recipes = _changed_versions(content, in_force=versions["policy"])
        for policy, surfaces in product(
            (versions["policy"], *([staged] if staged else []), *policies), (versions["surfaces"], *recipes)
        ):
            answering = frozenset({**versions, "policy": str(policy), "surfaces": surfaces}.items())
            if (policy, surfaces) == (versions["policy"], versions["surfaces"]):
                folders[answering] = manifest.parent
            else:
                folders.setdefault(answering, manifest.parent)
    return folders


def _changed_versions(content: FolderContent, *, in_force: str) -> tuple[set[str], set[str]]:
    """Of the policies and of the recipes that experiments' variants name, where they can be read."""
    policies, recipes = set(), set()
    for placed in content.experiments:
        for variant in placed.experiment.variants:
            with suppress(ValueError, OSError):
                if variant.policy is not None:
                    version, turns = variant_policy(placed.file.parent / variant.policy).version, variant.interleave
                    policies.add(version if turns is None else interleaved_version(in_force, version, turns))
                if variant.surfaces is not None:
                    recipes.add(read_surfaces(placed.file.parent / variant.surfaces).version)
    return policies, recipes


def replay_slates(
    slates: pa.Table,
    feedback: pa.Table,
    *,
    folders: Mapping[Versions, Path],
    experiments: Path | None = None,
    records: Sequence[CatalogueRecord] = (),
) -> ReplayReport:
    """Every slate (SLATE) through the bundle whose versions it names, under what `experiments` (a folder) changed.

    The skew is that from the log's `feedback` (FEEDBACK) and `records` of the catalogue.
    """
    groups, without = slates_by_bundle(slates, folders)
    differing: dict[str, tuple[str, ...]] = {}
    skew: dict[str, FeatureSkew] = {}
    for folder, served in groups.items():
        bundle, group = load_bundle(folder), table_to_slates(served)
        differing |= _differing(bundle, group, experiments)
        for name, part in store_skew(bundle, group, slates, feedback, records).items():
            skew[name] = skew.get(name, FeatureSkew()) + part
    return ReplayReport(len(slates), differing, without, skew)


def slates_by_bundle(
    slates: pa.Table, folders: Mapping[Versions, Path]
) -> tuple[dict[Path, pa.Table], Mapping[Versions, int]]:
    """The slates (SLATE) that each bundle served, and how many name versions that no bundle has."""
    rows: dict[Path, list[int]] = defaultdict(list)
    without: Counter[Versions] = Counter()
    for row, slate in enumerate(table_to_slates(slates)):
        versions = frozenset(slate.versions.items())
        if versions in folders:
            rows[folders[versions]].append(row)
        else:
            without[versions] += 1
    return {folder: slates.take(pa.array(places)) for folder, places in rows.items()}, without


def _differing(bundle: ModelBundle, slates: Sequence[Slate], experiments: Path | None) -> dict[str, tuple[str, ...]]:
    parts = build_engine(bundle, log=MemoryLog(), experiments=experiments).parts
    replays = {slate.request_id: replay(parts, slate) for slate in slates}
    return {name: answer.differs for name, answer in replays.items() if not answer.same}


def store_skew(
    bundle: ModelBundle,
    group: Sequence[Slate],
    slates: pa.Table,
    feedback: pa.Table,
    records: Sequence[CatalogueRecord] = (),
) -> dict[str, FeatureSkew]:
    """By feature, of the bundle's slates in order of time, against its store and what the log holds since then."""
    moving = MovingStore(bundle)
    moving.follow(records)
    since = pa.scalar(datetime.fromisoformat(str(bundle.manifest.facts["known_until"])), slates["time"].type)
    feedback, slates = (table.filter(pc.greater_equal(table["time"], since)) for table in (feedback, slates))
    return skew_of(group, moving.store, feedback=feedback, shown=slates, records=records)


class MovingStore:
    """The feature store of a bundle, whose catalogue moves as a log records."""

    def __init__(self, bundle: ModelBundle) -> None:
        self._log = MemoryLog()
        self._engine = build_engine(bundle, log=self._log)

    @property
    def store(self) -> FeatureStore:
        return self._engine.store

    def follow(self, records: Sequence[CatalogueRecord]) -> None:
        self._log.record_catalogue(records)
        self._engine.live.follow()


def print_replay(report: ReplayReport, *, title: str) -> None:
    """Counts, the slates that differ, the bundles that are gone, and the skew by feature, the worst first."""
    print(f"{title}: {report.same:,} of {report.replayed:,} slates replayed to the same bits")
    for name, columns in list(report.differing.items())[:NAMED]:
        print(f"   {name} differs in {', '.join(columns)}")
    if len(report.differing) > NAMED:
        print(f"   and {len(report.differing) - NAMED:,} more")
    print_without_bundle(report.without_bundle)
    skewed = {name: part for name, part in report.skew.items() if part.share}
    if skewed:
        print_skew(skewed, title="features as logged against the feature store")
    print(f"   {len(report.skew) - len(skewed)} of {len(report.skew)} features are the same in every value")


def print_without_bundle(without: Mapping[Versions, int]) -> None:
    """How many slates name versions that no bundle has."""
    for versions, count in without.items():
        names = ", ".join(f"{part} {version}" for part, version in sorted(versions))
        print(f"   {count:,} slates without their bundle (--run names the folder of their run): {names}")


def print_skew(skew: Mapping[str, FeatureSkew], *, title: str) -> None:
    """A line a feature, the worst first."""
    rows = [_row(name, part) for name, part in sorted(skew.items(), key=lambda row: -row[1].share)]
    head = ("feature", "values", "mismatched", "missing", "extra", "mean |difference|", "largest")
    print_section(head, rows, title=title, caption="")


def _row(name: str, part: FeatureSkew) -> tuple[str, ...]:
    shares = (f"{count / max(part.values, 1):.2%}" for count in (part.mismatched, part.missing, part.extra))
    return (name, f"{part.values:,}", *shares, f"{part.mean_difference:.4g}", f"{part.largest:.4g}")
