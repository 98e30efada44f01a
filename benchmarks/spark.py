"""Does Spark make the training rows of many impressions that one process makes, and how long does it take?

Slates of 50 items, all shown, with 8 numeric features and 2 predictions, 10,000 a day, with 5 events each, some of them
late, repeated or of other shoppers. Embedded: `join-feedback` of the log, in one process. Spark: `spark join-feedback`
of the same days on a standalone cluster of this machine, with workers of one core. Rows are compared as sets, by sums
of the hashes of whole rows. Scoring: `spark score` of a run's shoppers, on one core. The machine is shared with others.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.log import ITEMS, make_slates
from benchmarks.record import Measure, record, skip
from marketplace.parquet.days import write_days
from marketplace.schema import FEEDBACK, SLATE, TIME
from marketplace.slate import slates_to_table

SEED = 0
DAYS, SLATES_A_DAY, EVENTS_A_SLATE = 2, 10_000, 5  # a million impressions; benchmarks.spark_large takes 20 million
SHOPPERS, COMPARED = 400, 5
START = datetime(2026, 6, 1, tzinfo=UTC)
KINDS = ("impression", "impression", "impression", "click", "click", "cart", "order", "return", "view")
GIB = 2**30


def make_days(folder: Path, *, days: int) -> int:
    """Write a log's days; the number of impressions."""
    rng = np.random.default_rng(SEED)
    slim = [
        replace(one, numeric={name: one.numeric[name] for name in list(one.numeric)[:8]}, categorical={})
        for one in make_slates(1000)
    ]
    heads = [replace(one, predictions={head: one.predictions[head] for head in ("ctr", "cvr")}) for one in slim]
    base = pa.concat_tables([slates_to_table(heads)] * (SLATES_A_DAY // 1000)).combine_chunks()
    users = rng.integers(0, 200_000, SLATES_A_DAY)
    for day in range(days):
        ids = np.char.add(f"d{day}-", np.arange(SLATES_A_DAY).astype(str))
        times = midnight(day) + np.sort(rng.integers(0, 86_400_000_000, SLATES_A_DAY))
        slates = placed(base, request_id=ids, time=times, user_id=np.char.add("u", users.astype(str)))
        write_days(slates, folder, "slates", part="1")
        write_days(events_of(slates, rng), folder, "feedback", part=f"{day}")
    return days * SLATES_A_DAY * ITEMS


def midnight(day: int) -> int:
    return pa.scalar(START + timedelta(days=day), TIME).value


def placed(slates: pa.Table, **columns: np.ndarray) -> pa.Table:
    for name, cells in columns.items():
        place = slates.schema.get_field_index(name)
        slates = slates.set_column(place, SLATE.field(name), pa.array(cells).cast(SLATE.field(name).type))
    return slates


def events_of(slates: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Events of a day's slates: one in 20 repeats another, or comes from another shopper, or is late."""
    count = len(slates) * EVENTS_A_SLATE
    request = rng.integers(0, len(slates), count)
    item = slates["item_id"].combine_chunks().flatten().take(pa.array(request * ITEMS + rng.integers(0, ITEMS, count)))
    ids = slates["request_id"].take(pa.array(request))
    number = np.where(rng.random(count) < 0.05, rng.integers(0, count, count), np.arange(count))
    users = slates["user_id"].cast(pa.string()).to_numpy(zero_copy_only=False)[request]
    time_ = slates["time"].cast(pa.int64()).to_numpy()[request] + rng.exponential(6e9, count).astype(np.int64)
    return pa.table(
        {
            "feedback_id": pa.array(np.char.add(f"{ids[0].as_py()}-", number.astype(str))),
            "request_id": ids,
            "event": pa.array(rng.choice(KINDS, count)),
            "time": pa.array(time_),
            "user_id": pa.array(np.where(rng.random(count) < 0.05, "another", users)),
            "item_id": item,
            "amount": pa.array(rng.lognormal(4, 1, count).round(2), mask=rng.random(count) < 0.5),
            "currency": pa.array(["SAR"] * count),
        }
    ).cast(pa.schema([FEEDBACK.field(name) for name in FEEDBACK.names[:8]]))


def digest(files: list[Path]) -> tuple[int, int]:
    """The number of rows, and the sum of their hashes (modulo 2^64), whatever their order."""
    rows = total = 0
    for file in files:
        with pq.ParquetFile(file) as content:
            for batch in content.iter_batches(250_000):
                table = pa.Table.from_batches([batch])
                frame = table.select(sorted(table.column_names)).to_pandas()
                frame = frame.astype({name: str for name in frame if frame[name].dtype == "category"})
                total += int(pd.util.hash_pandas_object(frame, index=False).to_numpy().sum(dtype=np.uint64))
                rows += len(frame)
    return rows, total % 2**64


def embedded(days: str, out: str) -> None:
    """The command of one machine, and the largest memory of its process."""
    from jobs.join_feedback import join_feedback

    join_feedback(f"parquet://{days}", out=Path(out))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def command(*words: str) -> float:
    """Seconds of a `value-model` command."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "from jobs.cli import main; main()", *words], check=True)
    return time.perf_counter() - begun


def joins(folder: Path, *, days: int) -> Iterator[Measure]:
    from benchmarks.spark_cluster import spark_cluster

    log, alone = folder / "days", folder / "rows.parquet"
    impressions = make_days(log, days=days)
    yield Measure("impressions", impressions, "impressions")
    call = f"from benchmarks.spark import embedded; embedded({str(log)!r}, {str(alone)!r})"
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", call], check=True, stdout=subprocess.PIPE, text=True)
    yield Measure("embedded, one process: seconds", time.perf_counter() - begun, "s")
    yield Measure("embedded, one process: largest memory", int(done.stdout.split()[-1]) / GIB, "GiB")
    ours = digest([alone])
    alone.unlink()
    for workers in (1, 2):
        out, cluster = folder / f"rows{workers}", folder / f"cluster{workers}"
        cluster.mkdir()
        with spark_cluster(cluster, workers=workers) as master:
            seconds = command("spark", "join-feedback", str(log), "--to", str(out), "--master", master)
        theirs = digest(sorted(out.rglob("rows-*.parquet")))
        yield Measure(f"Spark, workers of one core: {workers}: seconds", seconds, "s")
        yield Measure(f"Spark, workers of one core: {workers}: same rows", float(theirs == ours), "share", ">= 1")


def scores(folder: Path) -> Iterator[Measure]:
    from serving.bundle import load_bundle

    bundle, shoppers, out = folder / "bundle", folder / "shoppers", folder / "lists"
    subprocess.run([sys.executable, "-m", "benchmarks.serving_bundle", str(bundle), str(SEED)], check=True)
    users = load_bundle(bundle).catalogue.users["user_id"].slice(0, SHOPPERS).to_numpy()
    write_days(placed(slates_to_table(make_slates(SHOPPERS)), user_id=users), shoppers, "slates", part="1")
    words = ("--shoppers", str(shoppers), "--master", "local[1]")
    seconds = command("spark", "score", str(bundle), "--to", str(out), *words)
    lists = pq.read_table(out).to_pandas()
    scored = lists.drop_duplicates("user_id")["considered"].sum()
    yield Measure("scoring: shoppers", lists["user_id"].nunique(), "shoppers")
    yield Measure("scoring: rows a second and core, start and bundle included", scored / seconds, "rows / s")
    yield Measure("scoring: largest difference from the service's predictions", difference(bundle, out), "", "<= 1e-6")


def difference(bundle_folder: Path, out: Path) -> float:
    """Of predictions and values; infinite where the service shows other items."""
    from marketplace.memory_log import MemoryLog
    from serving.app import create_app
    from serving.bundle import build_engine, load_bundle

    bundle, about = load_bundle(bundle_folder), json.loads((out / "_scored.json").read_text())
    lists, largest = pq.read_table(out).to_pandas(), 0.0
    for user, ours in list(lists.groupby("user_id"))[:COMPARED]:
        service = create_app(build_engine(bundle, log=MemoryLog())).test_client()  # which has answered nobody else
        question = {"surface": "home", "user_id": user, "k": about["k"], "time": about["time"]}
        question |= {"request_id": ours["request_id"].iloc[0]}
        theirs = service.post("/v1/recommend", json=question).get_json()["items"]
        if ours["item_id"].tolist() != [item["item_id"] for item in theirs]:
            return float("inf")
        for ours_of, item in zip(ours.to_dict("records"), theirs, strict=True):
            heads = dict(ours_of["predictions"])
            differences = [abs(heads[head] - value) for head, value in item["predictions"].items()]
            largest = max(largest, *differences, abs(ours_of["value"] - item["value"]))
    return largest


def main(name: str = "spark", *, days: int = DAYS) -> None:
    if find_spec("pyspark") is None or shutil.which("java") is None:
        skip(name, "it needs Java 17 and `pip install value-model[spark]`")
    with tempfile.TemporaryDirectory(prefix="spark") as folder:
        measures = [*joins(Path(folder), days=days), *(scores(Path(folder)) if days == DAYS else ())]
    data = f"{days * SLATES_A_DAY:,} made slates of {ITEMS} items"
    data += "; scoring: 100 k simulated items, untrained models" if days == DAYS else ""
    record(name, measures, data=data, seed=SEED)


if __name__ == "__main__":
    main()
