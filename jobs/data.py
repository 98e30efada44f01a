"""Get the data of a run: a simulated market, a real data set, or your own exports."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.config import RunConfig
from marketplace.dataset import Dataset, load_dataset
from marketplace.datasets.readers import READERS

if TYPE_CHECKING:
    from marketplace.simulator import Simulation

FEWEST_SLATES = 100


def data_root() -> Path:
    """The folder of the real data sets: $VALUE_MODEL_DATA, or ../shared/data beside the project."""
    return Path(os.environ.get("VALUE_MODEL_DATA") or Path(__file__).parents[2] / "shared" / "data")


def get(config: RunConfig) -> Dataset:
    """The data set that `config.data` names; FileNotFoundError says where a real one was looked for."""
    if config.data == "simulated":
        return market(config.size, seed=config.seed).dataset
    if config.data in READERS:
        return READERS[config.data].read(data_root())
    match Path(config.data).suffix:
        case ".sqlite":
            return logged(Path(config.data))
        case ".toml":
            from marketplace.datasets.own import read_own

            return read_own(Path(config.data))
    raise ValueError(
        f"--data {config.data!r} is unknown. Choose simulated, {', '.join(READERS)}, a mapping file that ends in .toml "
        "(docs/own_data.md), or a service's log that ends in .sqlite."
    )


def logged(path: Path) -> Dataset:
    """What a service recorded: the slates and feedback of its log, over the catalogue of the bundle beside it.

    Its features are used as they were served. ValueError where the log holds too little to learn from.
    """
    from marketplace.sqlite_log import SqliteLog
    from serving.bundle import load_bundle

    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; a service writes it (`value-model serve`).")
    catalogue = load_bundle(path.parent / "bundle").catalogue
    log = SqliteLog(path)
    dataset = replace(
        catalogue, slates=log.slates(), feedback=log.feedback(), notes=(f"The log of a service: {path}.",)
    )
    log.close()
    if len(dataset.slates) < FEWEST_SLATES:
        raise ValueError(
            f"{path} holds {len(dataset.slates)} slates; a run needs {FEWEST_SLATES} or more to learn from."
        )
    return dataset


def learnable(dataset: Dataset) -> Dataset:
    """The data set itself; ValueError where nothing was ordered, so that neither sources nor rankers can be judged."""
    if not pc.any(pc.equal(dataset.feedback["event"].cast(pa.string()), "order")).as_py():
        raise ValueError(
            f"{dataset.name} records no orders, and a run learns from orders: P(order | click), order values, and what "
            "retrieval should recall. Its slates and clicks serve evaluation.counterfactual (docs/counterfactual.md)."
        )
    return dataset


def market(size: str, *, seed: int) -> Simulation:
    """The simulated market of a preset size (small, demo, large), with its truth: the same for the same seed."""
    from marketplace.simulator import SimulatorConfig, simulate

    config = {"small": SimulatorConfig.small, "demo": SimulatorConfig.demo, "large": SimulatorConfig.large}[size]()
    return simulate(config, np.random.default_rng(seed))


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
