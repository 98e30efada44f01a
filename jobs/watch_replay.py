"""Some slates of each day again through the bundles that served them: replay to the same bits, and skew of features.

The store of a bundle goes on from day to day: what the log holds is learned once.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from evaluation.experiments.experiment_folder import EXPERIMENTS
from evaluation.monitoring.day_log import FeatureDifference
from jobs.replay import MovingStore, bundle_folders
from marketplace.log import Log
from marketplace.memory_log import MemoryLog
from marketplace.schema import microseconds_of
from marketplace.slate import Slate, table_to_slates
from serving.bundle import build_engine, load_bundle
from serving.parts import Parts
from serving.replay import replay
from serving.skew import FeatureSkew, skew_of


@dataclass
class _Served:
    """One bundle: its parts, and its store, which knows the log up to `known`; `days`: whether it has gone on since.

    The store's catalogue moves as the log's, that of the parts does not.
    """

    parts: Parts
    moving: MovingStore
    known: datetime
    days: bool = False


@dataclass(frozen=True)
class DayReplay:
    """Of the slates `request_ids`, whose bundles exist: the share that gave the same bits, and the skew by feature."""

    request_ids: tuple[str, ...]
    same: float | None
    skew: dict[str, FeatureDifference]


class BundleReplays:
    """The bundles of a run or service folder, each loaded when a slate first names it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._served: dict[Path, _Served] = {}

    def of_day(self, slates: pa.Table, log: Log, *, since: datetime, until: datetime, sample: int) -> DayReplay:
        """At most `sample` of the slates of a day (`since` to `until`), evenly in time."""
        rows = np.unique(np.linspace(0, len(slates) - 1, min(sample, len(slates))).astype(int))
        folders, groups = bundle_folders(self._home), defaultdict[Path, list[Slate]](list)
        for slate in table_to_slates(slates.take(pa.array(rows, pa.int64()))):
            if (versions := frozenset(slate.versions.items())) in folders:
                groups[folders[versions]].append(slate)
        records = log.catalogue_after(0)[0]
        same, ids, skew = 0, list[str](), dict[str, FeatureSkew]()
        for folder, group in groups.items():
            served = self._at(folder, since)
            served.moving.follow(records)
            ids += [slate.request_id for slate in group]
            same += sum(replay(served.parts, slate).same for slate in group)
            feedback, shown = (read(since=served.known, until=until) for read in (log.feedback, log.slates))
            parts = skew_of(group, served.moving.store, feedback=feedback, shown=shown, records=records)
            for name, part in parts.items():
                skew[name] = skew.get(name, FeatureSkew()) + part
            served.known, served.days = until, True
        self._served = {folder: self._served[folder] for folder in groups} or self._served
        differences = {name: difference_of(part) for name, part in skew.items()}
        return DayReplay(tuple(ids), same / len(ids) if ids else None, differences)

    def newcomers(self, since: datetime, until: datetime) -> pa.Array | None:
        """Ids of the items that were launched in a period, as the newest bundle in use knows them; None without one."""
        if not self._served:
            return None
        catalogue = list(self._served.values())[-1].moving.store.catalogue
        low, high = map(microseconds_of, (since, until))
        return catalogue.item_id.filter(pa.array((catalogue.launched >= low) & (catalogue.launched < high)))

    def _at(self, folder: Path, since: datetime) -> _Served:
        """A bundle whose store knows nothing of the day that begins at `since`."""
        served = self._served.get(folder)
        if served is None or (served.days and served.known > since):
            served = self._served[folder] = self._load(folder)
        return served

    def _load(self, folder: Path) -> _Served:
        bundle = load_bundle(folder)
        parts = build_engine(bundle, log=MemoryLog(), experiments=self._home / EXPERIMENTS).parts
        known = datetime.fromisoformat(str(bundle.manifest.facts["known_until"]))
        return _Served(parts, MovingStore(bundle), known)


def difference_of(skew: FeatureSkew) -> FeatureDifference:
    """Counts as shares of the values."""
    values = max(skew.values, 1)
    return FeatureDifference(
        skew.share, skew.mismatched / values, skew.missing / values, skew.extra / values, skew.mean_difference
    )
