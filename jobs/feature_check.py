"""Check of logged features: what a service logged against the same features computed again, offline.

Of a run, whose data are there, by the batch form over its data and the log; of a service's log alone by the online
form, a feature store that starts from the bundle and learns the log in order of time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from features.store import before
from jobs.data import kept, moved_catalogue
from jobs.replay import (
    Versions,
    bundle_folders,
    print_skew,
    print_without_bundle,
    slates_by_bundle,
    store_skew,
)
from marketplace.catalogue_records import CatalogueRecord
from marketplace.dataset import Dataset
from marketplace.log_place import Place, home_of, is_address, may_exist, shown_place
from marketplace.open_log import open_log
from marketplace.slate import table_to_slates
from serving.bundle import ModelBundle, load_bundle
from serving.skew import FeatureSkew, batch_skew


@dataclass(frozen=True)
class FeatureCheck:
    """By feature, of `slates` slates; `form`: how the features were computed again.

    `without_bundle`: versions -> slates that name them, and no bundle does; these are not checked.
    """

    form: str
    slates: int
    without_bundle: Mapping[Versions, int]
    skew: Mapping[str, FeatureSkew]

    @property
    def checked(self) -> int:
        return self.slates - sum(self.without_bundle.values())

    @property
    def passed(self) -> bool:
        """Whether something was compared, and all of it was the same."""
        return self.checked > 0 and not any(part.share for part in self.skew.values())

    def to_json(self) -> str:
        features = {name: asdict(part) | {"mean_difference": part.mean_difference} for name, part in self.skew.items()}
        return json.dumps(
            {"form": self.form, "slates": self.slates, "checked": self.checked, "features": features}, indent=1
        )


def check_features(source: Place, *, home: Path | None = None, out: Path | None = None) -> int:
    """Check the log at `source`, or that of the run or service folder `source`; `out` takes the report as JSON.

    `home`: the folder of the bundles, None = the log's. The exit code: 1 where a value differs, is missing or extra, or
    nothing could be checked.
    """
    folder = not is_address(source) and Path(source).is_dir()
    place = Path(source) / "log.sqlite" if folder else source
    if not may_exist(place):
        raise FileNotFoundError(f"{shown_place(place)} does not exist; a service writes it (`value-model serve`).")
    log = open_log(place)
    slates, feedback, records = log.slates(), log.feedback(), log.catalogue_after(0)[0]
    log.close()
    if not len(slates):
        raise ValueError(f"{shown_place(place)} holds no slates yet: serve some requests first (`value-model serve`).")
    report = checked(slates, feedback, home=home or home_of(place), records=records)
    if out is not None:
        out.write_text(report.to_json() + "\n")
    of = f"{report.checked:,} of {report.slates:,} slates"
    print(f"{shown_place(place)}: features of {of} computed again by the {report.form}")
    print_without_bundle(report.without_bundle)
    print_skew(report.skew, title="features as logged against the same computed again")
    same = sum(not part.share for part in report.skew.values())
    print(f"   {same} of {len(report.skew)} features are the same in every value")
    return int(not report.passed)


def checked(
    slates: pa.Table, feedback: pa.Table, *, home: Path, records: list[CatalogueRecord] | None = None
) -> FeatureCheck:
    """Of a log's slates (SLATE) and feedback (FEEDBACK), with the bundles in `home`; `records` of the catalogue."""
    groups, without = slates_by_bundle(slates, bundle_folders(home))
    dataset = kept(home) if (home / "data").exists() else None
    skew: dict[str, FeatureSkew] = {}
    for folder, served in groups.items():
        bundle = load_bundle(folder)
        if dataset is None:
            parts = store_skew(bundle, table_to_slates(served), slates, feedback, records or [])
        else:
            known = recorded(dataset, slates, feedback, bundle=bundle, records=records or [])
            parts = batch_skew(served, known, spec=bundle.encoder.spec)
        for name, part in parts.items():
            skew[name] = skew.get(name, FeatureSkew()) + part
    form = "batch form, over the run's data and the log" if dataset else "store of their bundle, which learns the log"
    return FeatureCheck(form, len(slates), without, skew)


def recorded(
    dataset: Dataset, slates: pa.Table, feedback: pa.Table, *, bundle: ModelBundle, records: list[CatalogueRecord]
) -> Dataset:
    """What the bundle knew of the run's data, what the log holds since then, and the catalogue as it moved."""
    until = datetime.fromisoformat(str(bundle.manifest.facts["known_until"]))

    def joined(known: pa.Table, logged: pa.Table) -> pa.Table:
        return pa.concat_tables([before(known, until), logged.slice(len(before(logged, until)))])

    catalogue = moved_catalogue(bundle.catalogue, records, since=bundle.catalogue_until)
    return replace(catalogue, slates=joined(dataset.slates, slates), feedback=joined(dataset.feedback, feedback))
