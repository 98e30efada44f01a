"""Get the data of a run: a simulated market, a real data set, or your own exports."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from jobs.config import PeriodsConfig, RunConfig
from marketplace.attribution import Attribution
from marketplace.catalogue_records import CatalogueRecord, Subject
from marketplace.dataset import Dataset, load_dataset
from marketplace.datasets.readers import READERS
from marketplace.finding import DataError, errors
from marketplace.log_place import Place, home_of, is_log, may_exist, shown_place
from marketplace.open_log import open_log
from marketplace.prospects import too_little
from marketplace.repeats import repeated
from marketplace.updated_catalogue import moved_items, moved_merchants, updated
from marketplace.visits import in_visits, visit_notes

if TYPE_CHECKING:
    from marketplace.simulator import Simulation

FEWEST_SLATES = 100
LOG_NEXT = (
    "Nothing was recorded: the bundle shows new arrivals and samples of the catalogue, by the policy cold_start. The "
    "service logs its answers itself; POST what shoppers then do to /v1/feedback (impressions, clicks, carts, orders), "
    "and run on its log (.sqlite)."
)


def data_root() -> Path:
    """The folder of the real data sets: $VALUE_MODEL_DATA, or ../shared/data beside the project."""
    return Path(os.environ.get("VALUE_MODEL_DATA") or Path(__file__).parents[2] / "shared" / "data")


def get(config: RunConfig) -> Dataset:
    """The data set that `config.data` names; FileNotFoundError says where a real one was looked for.

    Simulated and public data sets are closed.
    """
    if config.data == "simulated":
        return replace(market(config.size, seed=config.seed).dataset, closed=True)
    if config.data in READERS:
        return replace(READERS[config.data].read(data_root()), closed=True)
    if is_log(config.data):
        return logged(config.data)
    if Path(config.data).suffix == ".toml":
        from marketplace.datasets.own import read_own

        return read_own(Path(config.data), now=datetime.now(UTC))
    raise ValueError(
        f"--data {config.data!r} is unknown. Choose simulated, {', '.join(READERS)}, a mapping file that ends in .toml "
        "(docs/own_data.md), or a service's log: a file that ends in .sqlite, or an address."
    )


def logged(place: Place, *, since: datetime | None = None) -> Dataset:
    """What a service recorded: the slates and feedback of its log, over the catalogue of the bundle beside it.

    Its features are used as they were served. `since`: earlier rows are not read. ValueError where the log holds too
    little to learn from.
    """
    from features.request_text import context_features
    from serving.bundle import load_bundle

    if not may_exist(place):
        raise FileNotFoundError(f"{shown_place(place)} does not exist; a service writes it (`value-model serve`).")
    bundle = load_bundle(home_of(place) / "bundle")
    spec, log = bundle.encoder.spec, open_log(place)
    catalogue = moved_catalogue(bundle.catalogue, log.catalogue_after(0)[0], since=bundle.catalogue_until)
    context = tuple(context_features(spec))
    dataset = replace(
        catalogue,
        slates=log.slates(since=since),
        feedback=log.feedback(since=since),
        notes=(f"The log of a service: {shown_place(place)}.",),
        closed=False,
        context_features=context,
        mapped_features=(*context, *(feature.name for feature in spec.mapped())),
    )
    log.close()
    if len(dataset.slates) < FEWEST_SLATES:
        raise ValueError(
            f"{shown_place(place)} holds {len(dataset.slates)} slates; a run needs {FEWEST_SLATES} or more to learn "
            "from."
        )
    return dataset


def moved_catalogue(catalogue: Dataset, records: Sequence[CatalogueRecord], *, since: int) -> Dataset:
    """The catalogue as a service's records moved it on from `since` (UTC microseconds); new items stand behind."""
    known = set(catalogue.items["item_id"].to_pylist())
    items = [one for one in records if one.subject is Subject.ITEM and (one.complete or one.name in known)]
    merchants = [one for one in records if one.subject is Subject.MERCHANT]
    moved = moved_items(catalogue.items, items, currency=catalogue.currency, since=since)
    return replace(
        catalogue,
        items=updated(catalogue.items, moved, key="item_id"),
        merchants=moved_merchants(catalogue.merchants, merchants, since=since),
    )


def with_visits(dataset: Dataset) -> Dataset:
    """The data set with its visits named where no lists were recorded, and notes of how; or of what to log next."""
    if dataset.has_impressions:
        return dataset
    if len(dataset.feedback) == 0:
        return replace(dataset, notes=(*dataset.notes, LOG_NEXT))
    notes = (*dataset.notes, *visit_notes(dataset.feedback))
    return replace(dataset, feedback=in_visits(dataset.feedback), notes=notes)


def learnable(dataset: Dataset, joined: Attribution | None, *, periods: PeriodsConfig) -> Dataset:
    """The data set, each event once; DataError where there is nothing to judge on. `joined`: None without slates."""
    refused = errors(too_little(dataset, joined, **asdict(periods)))
    if refused:
        raise DataError(refused)
    repeats = repeated(dataset.feedback)
    return replace(dataset, feedback=dataset.feedback.filter(pa.array(~repeats))) if repeats.any() else dataset


def market(size: str, *, seed: int) -> Simulation:
    """The simulated market of a preset size, with its truth: the same for the same seed."""
    from marketplace.simulator import SimulatorConfig, simulate

    presets = {"small": SimulatorConfig.small, "demo": SimulatorConfig.demo, "coupons": SimulatorConfig.coupons}
    presets |= {"large": SimulatorConfig.large}
    return simulate(presets[size](), np.random.default_rng(seed))


def simulate(size: str, *, seed: int, out: Path) -> None:
    """Write a simulated market's tables to `out`."""
    dataset = market(size, seed=seed).dataset
    dataset.save(out)
    print(describe(dataset))
    print(f"wrote {out}")


def kept(folder: Path) -> Dataset:
    """The data set that an earlier stage kept in a run."""
    return load_dataset(folder / "data")


def describe(dataset: Dataset) -> str:
    """One line: how much there is of everything."""
    return (
        f"{dataset.name}: {len(dataset.items):,} items of {len(dataset.merchants):,} merchants, "
        f"{len(dataset.users):,} shoppers, {len(dataset.slates):,} slates, {len(dataset.feedback):,} events, "
        f"amounts in {dataset.currency}"
    )
