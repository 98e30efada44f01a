"""Replay of a service's log: every slate again through the bundle that served it, and the skew of its features.

A slate must replay to the same bits from its features as they were logged. The skew table says how far these features
are from what the bundle's feature store, told what the log holds before the slate, would have known.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from jobs.tables import print_section
from marketplace.memory_log import MemoryLog
from marketplace.slate import Slate, table_to_slates
from marketplace.sqlite_log import SqliteLog
from serving.bundle import ModelBundle, build_engine, load_bundle
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
    def same(self) -> int:
        return self.slates - len(self.differing) - sum(self.without_bundle.values())

    def to_json(self) -> str:
        gone = [{"versions": dict(sorted(versions)), "slates": n} for versions, n in self.without_bundle.items()]
        skew = {name: asdict(part) | {"mean_difference": part.mean_difference} for name, part in self.skew.items()}
        counts = {"slates": self.slates, "same": self.same}
        return json.dumps(counts | {"differing": dict(self.differing), "without_bundle": gone, "skew": skew}, indent=1)


def replay_log(path: Path, *, home: Path | None = None, out: Path | None = None) -> int:
    """Replay the log `path` (SQLite) through the bundles in `home` (None = beside it); `out` takes the report as JSON.

    The exit code: 1 where a slate did not replay to the same bits.
    """
    log = SqliteLog(path)
    slates, feedback = log.slates(), log.feedback()
    log.close()
    if not len(slates):
        raise ValueError(f"{path} holds no slates yet: serve some requests first (`value-model serve`).")
    report = replay_slates(slates, feedback, folders=bundle_folders(home or path.parent))
    if out is not None:
        out.write_text(report.to_json() + "\n")
    print_replay(report, title=str(path))
    return int(bool(report.differing))


def bundle_folders(home: Path) -> dict[Versions, Path]:
    """By their versions, the bundles of a run, `bundles/N` and `bundle`; a damaged one is named and left out."""
    folders = {}
    for manifest in (*sorted(home.glob("bundles/*/manifest.json")), *home.glob("bundle/manifest.json")):
        try:
            opened = open_manifest(manifest.parent)
            staged = opened.facts.get("staged_policy")
            for policy in filter(None, (opened.versions["policy"], staged)):
                folders[frozenset({**opened.versions, "policy": str(policy)}.items())] = manifest.parent
        except BundleError as error:
            print(f"left out: {error}")
    return folders


def replay_slates(slates: pa.Table, feedback: pa.Table, *, folders: Mapping[Versions, Path]) -> ReplayReport:
    """Every slate (SLATE) through the bundle whose versions it names; its skew from the log's `feedback` (FEEDBACK)."""
    groups: dict[Versions, list[Slate]] = defaultdict(list)
    for slate in table_to_slates(slates):
        groups[frozenset(slate.versions.items())].append(slate)
    differing: dict[str, tuple[str, ...]] = {}
    skew: dict[str, FeatureSkew] = {}
    for versions in groups.keys() & folders.keys():
        bundle = load_bundle(folders[versions])
        differing |= _differing(bundle, groups[versions])
        for name, part in _skew(bundle, groups[versions], slates, feedback).items():
            skew[name] = skew.get(name, FeatureSkew()) + part
    without = {versions: len(group) for versions, group in groups.items() if versions not in folders}
    return ReplayReport(len(slates), differing, without, skew)


def _differing(bundle: ModelBundle, slates: Sequence[Slate]) -> dict[str, tuple[str, ...]]:
    parts = build_engine(bundle, log=MemoryLog()).parts
    replays = {slate.request_id: replay(parts, slate) for slate in slates}
    return {name: answer.differs for name, answer in replays.items() if not answer.same}


def _skew(bundle: ModelBundle, group: Sequence[Slate], slates: pa.Table, feedback: pa.Table) -> dict[str, FeatureSkew]:
    """Of the bundle's slates in order of time, against its store and what the log holds since the bundle's data."""
    store = build_engine(bundle, log=MemoryLog()).store
    since = pa.scalar(datetime.fromisoformat(str(bundle.manifest.facts["known_until"])), slates["time"].type)
    feedback, slates = (table.filter(pc.greater_equal(table["time"], since)) for table in (feedback, slates))
    return skew_of(group, store, feedback=feedback, shown=slates)


def print_replay(report: ReplayReport, *, title: str) -> None:
    """Counts, the slates that differ, the bundles that are gone, and the skew by feature, the worst first."""
    replayed = report.slates - sum(report.without_bundle.values())
    print(f"{title}: {report.same:,} of {replayed:,} slates replayed to the same bits")
    for name, columns in list(report.differing.items())[:NAMED]:
        print(f"   {name} differs in {', '.join(columns)}")
    if len(report.differing) > NAMED:
        print(f"   and {len(report.differing) - NAMED:,} more")
    for versions, count in report.without_bundle.items():
        names = ", ".join(f"{part} {version}" for part, version in sorted(versions))
        print(f"   {count:,} slates without their bundle: {names}")
    skew = sorted(report.skew.items(), key=lambda row: -row[1].share)
    rows = [_row(name, part) for name, part in skew if part.share]
    caption = f"{len(report.skew) - len(rows)} of {len(report.skew)} features are the same in every value"
    if not rows:
        print(f"   {caption}")
        return
    head = ("feature", "values", "mismatched", "missing", "extra", "mean |difference|", "largest")
    print_section(head, rows, title="features as logged against the feature store", caption=caption)


def _row(name: str, part: FeatureSkew) -> tuple[str, ...]:
    shares = (f"{count / part.values:.2%}" for count in (part.mismatched, part.missing, part.extra))
    return (name, f"{part.values:,}", *shares, f"{part.mean_difference:.4g}", f"{part.largest:.4g}")
