"""A simulated market whose truth is known, as a shop with a service meets it: what its old system recorded, what then
changes in the catalogue, and what shoppers ask and do.

The market lives FIRST days under its old system and at most MOST_DAYS under the service. While it does, items are
launched, prices move, stock runs out and comes back, tastes drift. It is lively (more clicks and orders than most), so
that days hold what weeks hold elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from marketplace.dataset import Dataset
from marketplace.keys import Column
from marketplace.simulator import Simulation, SimulatorConfig, simulate
from marketplace.simulator.market import on_sale, price_on
from marketplace.simulator.moves import SPELL_DAYS
from marketplace.slate_columns import context, flat, plain, request_of_rows

FIRST, MOST_DAYS = 3, 9
CONTEXT = ("country", "city", "device", "language")
CONFIG = SimulatorConfig(
    requests=1_200,
    users=1_200,
    items=1_500,
    merchants=80,
    days=FIRST + MOST_DAYS,
    log_days=FIRST,
    launch_share=0.4,
    repriced_share=0.4,
    sold_out_share=0.4,
    click_offset=0.8,
    order_offset=1.2,
    preference_drift=0.3,
    drift_day=FIRST + 3.0,
)
EXPORTS = {"items": "items", "merchants": "merchants", "users": "users", "slates": "impressions", "feedback": "events"}
PAGES = ("session_id", "query", "page_merchant_id", "page_item_id")
LISTED = ("item_id", "price", "position")


def live_market(seed: int) -> Simulation:
    """The market, and what its old system recorded in the first days."""
    return simulate(CONFIG, np.random.default_rng(seed))


def write_exports(simulation: Simulation, folder: Path) -> Path:
    """What the shop knows at the end of the first days, as Parquet files and their mapping (docs/own_data.md)."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ['name = "a market that moves"', f'currency = "{simulation.dataset.currency}"']
    for table, columns in _tables(_first_days(simulation)).items():
        file = f"{EXPORTS[table]}.parquet"
        pq.write_table(pa.table(columns), folder / file)
        lines += ["", f"[{table}]", f'file = "{file}"']
        for section, names in _sections(table, columns).items():
            lines += [f"[{table}.{section}]", *(f'{name} = "{name}"' for name in names)]
    mapping = folder / "mapping.toml"
    mapping.write_text("\n".join(lines) + "\n")
    return mapping


def _first_days(simulation: Simulation) -> Dataset:
    """The catalogue and events as of the end of the first days."""
    dataset, market, day = simulation.dataset, simulation.market, np.array(float(FIRST))
    every = np.arange(simulation.config.items)
    launched = pa.array(market.items.available <= day)
    items = dataset.items
    for name, values in {"price": price_on(market, every, day), "in_stock": on_sale(market, every, day)}.items():
        items = items.set_column(items.column_names.index(name), name, pa.array(values))
    end = simulation.config.start + timedelta(days=FIRST)
    return replace(dataset, items=items.filter(launched), feedback=dataset.feedback.filter(pc.field("time") < end))


def _tables(dataset: Dataset) -> dict[str, dict[str, Column]]:
    slates = dataset.slates
    request = pa.array(request_of_rows(slates))
    impressions = {name: slates[name].take(request) for name in ("request_id", "time", "surface", "user_id", *PAGES)}
    impressions |= {name: flat(slates, name) for name in LISTED}
    impressions |= {name: context(slates, name).take(request) for name in CONTEXT}
    tables = {name: _plain_columns(getattr(dataset, name)) for name in ("items", "merchants", "users", "feedback")}
    return tables | {"slates": {name: _plain(column) for name, column in impressions.items()}}


def _plain_columns(table: pa.Table) -> dict[str, Column]:
    """Columns but maps, empty ones and what a mapping does not name."""
    columns = {name: table[name] for name in table.column_names if not pa.types.is_map(table.schema.field(name).type)}
    return {name: _plain(column) for name, column in columns.items() if column.null_count < len(column)}


def _plain(column: Column) -> Column:
    return column.cast(plain(column.type))


def _sections(table: str, columns: dict[str, Column]) -> dict[str, list[str]]:
    """By section of the mapping: the names of its columns."""
    further = CONTEXT if table == "slates" else ()
    return {"columns": [name for name in columns if name not in further]} | ({"context": [*further]} if further else {})


def catalogue_updates(simulation: Simulation) -> Iterator[tuple[float, dict[str, Any]]]:
    """Day and body of each update of an item after the first days, in order: launches, prices, stock."""
    market, moves = simulation.market, simulation.market.moves
    rows = simulation.dataset.items.to_pylist()
    times: list[tuple[float, int]] = []
    for days in (market.items.available, moves.repriced, moves.out_from, moves.out_from + SPELL_DAYS):
        times += [(float(day), int(row)) for row, day in enumerate(days) if FIRST < day < simulation.config.days]
    for day, row in sorted(times):
        if market.items.available[row] <= day:  # what changes before the launch is part of it
            yield day, _state(simulation, rows[row], row, np.array(day))


def _state(simulation: Simulation, item: dict[str, Any], row: int, day: np.ndarray) -> dict[str, Any]:
    """The whole of an item at the moment `day`, as `PUT /v1/items` takes it."""
    market, one = simulation.market, np.array([row])
    launched = market.items.available[row]
    began = None if np.isinf(launched) else simulation.config.start + timedelta(days=float(launched))
    return {
        **{name: item[name] for name in ("item_id", "merchant_id", "category", "name")},
        "version": round(float(day) * 86_400_000),
        "price": float(price_on(market, one, day)[0]),
        "in_stock": bool(on_sale(market, one, day)[0]),
        "available_from": None if began is None else began.isoformat(),
    }
