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

from evaluation.monitoring.day_log import FeatureDifference
from features.store import FeatureStore
from jobs.replay import Versions, bundle_folders
from marketplace.log import Log
from marketplace.memory_log import MemoryLog
from marketplace.slate import Slate, table_to_slates
from serving.bundle import build_engine, load_bundle
from serving.engine import Parts
from serving.replay import replay
from serving.skew import FeatureSkew, skew_of


@dataclass
class _Served:
    """One bundle: its parts, and its store, which knows the log up to `known`; `days`: whether it has gone on since."""

    parts: Parts
    store: FeatureStore
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
        self._folders = bundle_folders(home)
        self._served: dict[Versions, _Served] = {}

    def of_day(self, slates: pa.Table, log: Log, *, since: datetime, until: datetime, sample: int) -> DayReplay:
        """At most `sample` of the slates of a day (`since` to `until`), evenly in time."""
        rows = np.unique(np.linspace(0, len(slates) - 1, min(sample, len(slates))).astype(int))
        groups: dict[Versions, list[Slate]] = defaultdict(list)
        for slate in table_to_slates(slates.take(pa.array(rows, pa.int64()))):
            groups[frozenset(slate.versions.items())].append(slate)
        same, ids, skew = 0, list[str](), dict[str, FeatureSkew]()
        for versions in sorted(groups.keys() & self._folders.keys(), key=sorted):
            served = self._at(versions, since)
            ids += [slate.request_id for slate in groups[versions]]
            same += sum(replay(served.parts, slate).same for slate in groups[versions])
            feedback, shown = (read(since=served.known, until=until) for read in (log.feedback, log.slates))
            for name, part in skew_of(groups[versions], served.store, feedback=feedback, shown=shown).items():
                skew[name] = skew.get(name, FeatureSkew()) + part
            served.known, served.days = until, True
        differences = {name: difference_of(part) for name, part in skew.items()}
        return DayReplay(tuple(ids), same / len(ids) if ids else None, differences)

    def newcomers(self, since: datetime, until: datetime) -> pa.Array | None:
        """Ids of the items that were launched in a period, as the newest bundle in use knows them; None without one."""
        if not self._served:
            return None
        catalogue = list(self._served.values())[-1].store.catalogue
        low, high = (pa.scalar(time, pa.timestamp("us", tz="UTC")).value for time in (since, until))
        return catalogue.item_id.filter(pa.array((catalogue.launched >= low) & (catalogue.launched < high)))

    def _at(self, versions: Versions, since: datetime) -> _Served:
        """A bundle whose store knows nothing of the day that begins at `since`."""
        served = self._served.get(versions)
        if served is None or (served.days and served.known > since):
            served = self._served[versions] = self._load(versions)
        return served

    def _load(self, versions: Versions) -> _Served:
        bundle = load_bundle(self._folders[versions])
        engine = build_engine(bundle, log=MemoryLog())
        return _Served(engine.parts, engine.store, datetime.fromisoformat(str(bundle.manifest.facts["known_until"])))


def difference_of(skew: FeatureSkew) -> FeatureDifference:
    """Counts as shares of the values."""
    values = max(skew.values, 1)
    return FeatureDifference(
        skew.share, skew.mismatched / values, skew.missing / values, skew.extra / values, skew.mean_difference
    )
