"""Score every shopper on Spark: the home list that the service would show each, by its engine, on every core.

A core loads the bundle once. Nothing is logged, and a shopper's list does not depend on the others'. The request of a
shopper is named USER@TIME: the service draws the same list for the same request.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from marketplace.log_place import Place
from marketplace.memory_log import MemoryLog
from marketplace.open_log import open_log
from marketplace.spark.days import Make, map_batches, shoppers_of_days
from marketplace.spark.session import spark_session
from serving.bundle import build_engine, load_bundle
from serving.engine import RankingEngine
from serving.manifest import bundle_of
from serving.request import Request
from serving.stages import Stages

SURFACE = "home"
LISTS = pa.schema(
    [
        pa.field("user_id", pa.string()),
        pa.field("request_id", pa.string()),
        pa.field("position", pa.int32()),  # 1 = first
        pa.field("item_id", pa.string()),
        pa.field("merchant_id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("price", pa.float64()),  # currency
        pa.field("value", pa.float64()),  # the formula's unit
        pa.field("merchant_value", pa.float64()),  # currency per impression
        pa.field("propensity", pa.float64()),
        pa.field("predictions", pa.map_(pa.string(), pa.float64())),
        pa.field("considered", pa.int32()),  # candidates that were scored
    ]
)
OF_ITEMS = ("position", "item_id", "merchant_id", "source", "price", "value", "merchant_value", "propensity")


def score_users(
    folder: Path, *, out: Path, k: int, at: datetime | None, log: Place | None, days: Path | None, master: str | None
) -> None:
    """Write the `k` items of each shopper of the bundle in `folder`, or of the log's `days`, to the new folder `out`.

    `at`: the time of the requests, None = the end of the bundle's data; `log`: what shoppers did since, None = nothing.
    """
    if out.exists():
        raise ValueError(f"{out} is there already: name a new folder.")
    home = bundle_of(folder).resolve()
    bundle = load_bundle(home)
    moment = at or datetime.fromisoformat(str(bundle.manifest.facts["known_until"]))
    begun = time.perf_counter()
    with spark_session(master, name="score-users") as spark:
        named = pa.table({"user_id": bundle.catalogue.users["user_id"].cast(pa.string())})
        users = shoppers_of_days(spark, days) if days is not None else spark.createDataFrame(named)
        rows = map_batches(users, list_maker(home, moment, k=k, log=log), LISTS, out=out)
    about = {"bundle": bundle.version, "time": moment.isoformat(), "k": k}
    (out / "_scored.json").write_text(json.dumps(about, indent=1, default=str) + "\n")
    seconds = time.perf_counter() - begun
    print(f"wrote {out}: {rows:,} rows in {seconds:,.0f} s")


def list_maker(home: Path, moment: datetime, *, k: int, log: Place | None) -> Make:
    """What makes lists (LISTS) of batches of shoppers (user_id), wherever it is called."""

    def make(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        engine = _engine(home, log)
        for batch in batches:
            for user in batch.column(0).to_pylist():
                yield _list(engine, user, moment, k=k)

    return make


@lru_cache(maxsize=1)
def _engine(home: Path, log: Place | None) -> RankingEngine:
    """One a process."""
    if log is None:
        return build_engine(load_bundle(home), log=MemoryLog())
    with closing(open_log(log)) as known:
        return build_engine(load_bundle(home), log=known)


def _list(engine: RankingEngine, user: str, moment: datetime, *, k: int) -> pa.RecordBatch:
    name = f"{user}@{moment:%Y-%m-%dT%H:%M:%S}"
    request = Request(request_id=name, time=moment, surface=SURFACE, user_id=user, k=k)
    slate = engine.answer(request, Stages(time.perf_counter)).slate
    shown = np.flatnonzero(slate.position)
    shown = shown[np.argsort(slate.position[shown], kind="stable")]
    columns = {name: getattr(slate, name)[shown].tolist() for name in OF_ITEMS}
    heads = {head: values[shown].tolist() for head, values in slate.predictions.items()}
    columns |= {name: [cell] * len(shown) for name, cell in (("user_id", user), ("request_id", slate.request_id))}
    columns["predictions"] = [list(zip(heads, row, strict=True)) for row in zip(*heads.values(), strict=True)]
    columns["considered"] = [slate.considered] * len(shown)
    return pa.RecordBatch.from_pydict(columns, LISTS)
