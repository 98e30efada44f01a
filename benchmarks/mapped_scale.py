"""What does a shop's export of ten million impressions with 40 mapped features cost to read, in time and memory?

A made-up shop in Parquet, written in chunks: 20 items a list, 32 columns of the candidates (24 numbers, 8 of words), 4
of the request, 4 of the item. Each size is read in a process of its own: the data stage of a run (reading, checking,
joining events, keeping the tables), then the mapped features as the encoded inputs of a model.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.record import Measure, record

SEED = 0
SIZES = (1_000_000, 3_000_000, 10_000_000)  # impressions
LENGTH, ITEMS, SHOPPERS, CHUNK = 20, 50_000, 200_000, 25_000  # items a list; requests a chunk
NUMBERS, WORDS = 24, 8
CLICKED, ORDERED = 0.05, 0.1  # shares of what is shown, and of what is clicked
GIBIBYTE = 2**30
START = 1_767_225_600  # 2026-01-01, seconds
MAPPING = f"""
name = "made-up shop"
currency = "SAR"
[items]
file = "items.parquet"
columns = {{ item_id = "item", merchant_id = "seller", price = "price", category = "category" }}
numeric = {{ stars = "stars", rooms = "rooms" }}
categorical = {{ brand = "brand", style = "style" }}
[slates]
file = "shown.parquet"
columns = {{ request_id = "request", time = "time", user_id = "user", item_id = "item", position = "slot" }}
numeric = {{ {", ".join(f'n{place} = "n{place}"' for place in range(NUMBERS))} }}
categorical = {{ {", ".join(f'w{place} = "w{place}"' for place in range(WORDS))} }}
request_numeric = {{ adults = "adults", nights = "nights" }}
context = {{ device = "device", country = "country" }}
[feedback]
file = "events.parquet"
columns = {{ feedback_id = "id", request_id = "request", event = "kind", time = "time", user_id = "user", \
item_id = "item", amount = "total" }}
"""


def names(prefix: str, codes: np.ndarray) -> pa.Array:
    """Words such as i17."""
    unique, place = np.unique(codes, return_inverse=True)
    return pa.DictionaryArray.from_arrays(
        place.astype(np.int32), pa.array([f"{prefix}{code}" for code in unique])
    ).cast(pa.string())


def write_items(folder: Path, rng: np.random.Generator) -> None:
    """The catalogue."""
    code = np.arange(ITEMS)
    columns = {
        "item": names("i", code),
        "seller": names("s", code % 500),
        "price": rng.lognormal(4, 1, ITEMS).round(2),
        "category": names("c", code % 40),
        "stars": rng.integers(1, 6, ITEMS),
        "rooms": rng.integers(1, 300, ITEMS),
        "brand": names("b", code % 900),
        "style": names("y", code % 7),
    }
    pq.write_table(pa.table(columns), folder / "items.parquet")


def impressions(first: int, requests: int, rng: np.random.Generator) -> pa.Table:
    """The rows of some requests, numbered from `first`, a second each."""
    request = np.repeat(np.arange(first, first + requests), LENGTH)
    rows = len(request)
    shopper = np.repeat(rng.integers(0, SHOPPERS, requests), LENGTH)
    item = rng.integers(0, ITEMS, rows)
    of_request = {
        "adults": np.repeat(rng.integers(1, 5, requests), LENGTH),
        "nights": np.repeat(rng.integers(1, 15, requests), LENGTH),
        "device": names("d", np.repeat(rng.integers(0, 4, requests), LENGTH)),
        "country": names("l", np.repeat(rng.integers(0, 8, requests), LENGTH)),
    }
    return pa.table(
        {
            "request": names("r", request),
            "time": pa.array((START + request) * 1_000_000, pa.timestamp("us", tz="UTC")),
            "user": names("u", shopper),
            "item": names("i", item),
            "slot": np.tile(np.arange(1, LENGTH + 1, dtype=np.int32), requests),
            **{f"n{place}": rng.normal(size=rows) for place in range(NUMBERS)},
            **{f"w{place}": names("v", rng.integers(0, 10 ** (1 + place % 3), rows)) for place in range(WORDS)},
            **of_request,
        }
    )


def events(shown: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Clicks at random, half a minute after their list, and orders of some of them."""
    clicked = np.flatnonzero(rng.random(len(shown)) < CLICKED)
    ordered = clicked[rng.random(len(clicked)) < ORDERED]
    both = shown.select(["request", "time", "user", "item", "slot"]).take(np.concatenate([clicked, ordered]))
    kind = np.repeat(["click", "order"], [len(clicked), len(ordered)])
    columns = {name: both[name] for name in ("request", "user", "item")}
    columns["id"] = pa.array([f"{a}.{b}.{c}" for a, b, c in zip(both["request"], both["slot"], kind, strict=True)])
    columns["time"] = pa.array(both["time"].cast(pa.int64()).to_numpy() + 30_000_000, pa.timestamp("us", tz="UTC"))
    return pa.table(columns | {"kind": kind, "total": np.where(kind == "order", 99.5, np.nan)})


def write_shop(folder: Path, rows: int) -> None:
    """The files and their mapping."""
    rng = np.random.default_rng(SEED)
    write_items(folder, rng)
    shown = impressions(0, 1, rng)
    with (
        pq.ParquetWriter(folder / "shown.parquet", shown.schema) as lists,
        pq.ParquetWriter(folder / "events.parquet", events(shown, rng).schema) as answers,
    ):
        for first in range(0, rows // LENGTH, CHUNK):
            shown = impressions(first, min(CHUNK, rows // LENGTH - first), rng)
            lists.write_table(shown)
            answers.write_table(events(shown, rng))
    (folder / "mapping.toml").write_text(MAPPING)


def cost(folder: Path) -> dict[str, float]:
    """Seconds and the peak of memory of reading what lies in `folder`."""
    from features.backfill import backfill
    from features.encoder import Encoder
    from features.mapped import mapped_features
    from features.spec import FeatureSpec
    from jobs.config import RunConfig
    from jobs.data import kept
    from jobs.run import data
    from jobs.run_folder import RunFolder

    run, start = RunFolder.create(folder / "run", RunConfig(data=str(folder / "mapping.toml"))), time.process_time()
    data(run)
    read, dataset = time.process_time(), kept(run.path)
    frame = backfill(dataset, dataset.slates, spec=FeatureSpec(mapped_features(dataset).features))
    inputs = Encoder.fit(frame).encode(frame)
    encoded = time.process_time()
    return {
        "reading": read - start,
        "features": encoded - read,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIBIBYTE,
        "rows": len(inputs.cross_numbers),
    }


def measured(rows: int) -> dict[str, float]:
    """`cost` of a shop of so many impressions, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        for step in ("write", "cost"):
            child = [sys.executable, "-m", "benchmarks.mapped_scale", step, name, str(rows)]
            answer = subprocess.run(child, check=True, capture_output=True, text=True).stdout
    result = json.loads(answer.splitlines()[-1])
    print(rows, result, flush=True)
    return result


def measures(costs: Mapping[int, Mapping[str, float]]) -> list[Measure]:
    """The figures by impressions, and how seconds and memory grow from the least to the most of them."""
    rows = [
        Measure(f"{count / 1e6:.0f} M impressions: {what}", cost[key], unit, bar if count == max(SIZES) else None)
        for count, cost in sorted(costs.items())
        for what, key, unit, bar in (
            ("data stage", "reading", "s of CPU", None),
            ("features, encoded", "features", "s of CPU", None),
            ("peak memory", "memory", "GiB", "<= 8"),
        )
    ]
    few, many = min(costs), max(costs)
    seconds = {count: (costs[count]["reading"] + costs[count]["features"]) / count for count in (few, many)}
    growth = f"seconds an impression, {many / 1e6:.0f} M over {few / 1e6:.0f} M"
    return [*rows, Measure(growth, seconds[many] / seconds[few], "ratio", "<= 1.25")]


def main() -> None:
    costs: dict[int, Mapping[str, float]] = {}
    for count in sorted(SIZES, reverse=True):
        costs[count] = measured(count)
        record("mapped_scale", measures(costs), data="made-up shop, 40 mapped features", seed=SEED)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", folder, rows]:
            write_shop(Path(folder), int(rows))
        case ["cost", folder, _]:
            print(json.dumps(cost(Path(folder))))
        case _:
            main()
