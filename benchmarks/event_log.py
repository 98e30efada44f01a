"""An event log without lists: trivago's item views as a shop would export them, from the mapping file to served slates.

The views before the cut are written as CSV with a mapping file, without sessions and without clickouts; `value-model
run` makes a bundle of them. Then the rest of the log is told to the bundle's engine as it happens, and at every sampled
clickout it answers the shopper's request: is the clickout's item among the first 20, or 100, of the slate served?

Baselines at the same moments: the shopper's history, newest first, then what is popular in a city: that of the last
item viewed, or the one that the shopper searches, which an event log does not hold.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from benchmarks.record import Measure, record, skip
from evaluation import bootstrap
from jobs.config import RunConfig
from jobs.data import data_root
from jobs.run import run_all
from marketplace.dataset import Dataset
from marketplace.datasets.trivago import CLICKOUT, read_trivago
from marketplace.keys import values_of
from marketplace.memory_log import MemoryLog
from marketplace.schema import FEEDBACK, conform
from marketplace.slate_columns import context
from marketplace.splits import microseconds
from serving.bundle import build_engine, load_bundle
from serving.engine import RankingEngine
from serving.request import Request

NAME, SEED = "event_log", 0
TEST_SHARE = 0.2  # of the clickouts, the last
CLICKOUTS = 2000  # of the test period, evenly spread
SHOPPERS = 200  # whose first items are compared at the end of the log
AT = (20, 100)
MAPPING = """name = "item views"
currency = "EUR"

[items]
file = "items.csv"

[items.columns]
item_id = "hotel"
merchant_id = "city"
category = "city"
price = "price"

[feedback]
file = "views.csv"

[feedback.columns]
event = "what"
time = "at"
user_id = "shopper"
item_id = "hotel"

[feedback.events]
view = "click"                # there are no lists, so a view stands for interest
"""


@dataclass(frozen=True)
class Clickouts:
    """Clickouts of the test period: shopper, item, time (UTC microseconds) and the city searched."""

    user: list[str]
    item: list[str]
    time: np.ndarray
    city: list[str]


def main() -> None:
    path = data_root() / "trivago" / "trivago_val_100k.parquet"
    if not path.exists():
        skip(NAME, f"{path} is absent; set VALUE_MODEL_DATA to the folder of the data sets.")
    dataset = read_trivago(path, protocol="next_clickout")
    kind = dataset.feedback["event"].cast(pa.string())
    views = without_lists(dataset.feedback.filter(pc.not_equal(dataset.feedback["detail"].cast(pa.string()), CLICKOUT)))
    clicked_out = dataset.feedback.filter(pc.equal(kind, "order"))
    cut = int(np.quantile(microseconds(clicked_out["time"]), 1 - TEST_SHARE))
    clickouts = sampled(dataset, clicked_out, cut)
    before = pa.array(microseconds(views["time"]) < cut)
    folder = Path(tempfile.mkdtemp())
    write_export(dataset, views.filter(before), folder)
    start = perf_counter()
    run_all(RunConfig(data=str(folder / "mapping.toml"), seed=SEED), folder / "run")
    engine = build_engine(load_bundle(folder / "run" / "bundle"), log=MemoryLog())
    answer(engine, clickouts.user[0], "first answer", cut)
    minutes = (perf_counter() - start) / 60
    served = replayed(engine, views.filter(pc.invert(before)), clickouts)
    users, end = pc.unique(views["user_id"].cast(pa.string())).to_pylist(), int(microseconds(views["time"]).max())
    some = [users[row] for row in np.linspace(0, len(users) - 1, SHOPPERS).astype(int)]
    first = most_frequent_first(engine, some, end + 1)
    city_of = dict(zip(dataset.items["item_id"].to_pylist(), dataset.items["category"].to_pylist(), strict=True))
    rows = recalls(served, baselines(views, city_of, cut, clickouts), clickouts)
    follows = followed(engine, some, city_of, end + 2)
    rows += [
        Measure("most frequent first item of 200 shoppers", first, "share", "<= 0.1"),
        Measure("next first item in the city of a new view", follows, "share", ">= 0.9"),
        Measure("from the files to a served slate, one core", minutes, "min"),
    ]
    shutil.rmtree(folder)
    about = f"trivago's {len(views):,} item views, no lists, no sessions; {len(clickouts.item):,} clickouts"
    record(NAME, rows, data=about, seed=SEED)


def without_lists(feedback: pa.Table) -> pa.Table:
    """The same events, which answer no list."""
    place = feedback.column_names.index("request_id")
    field = feedback.schema.field("request_id")
    return feedback.set_column(place, field, pa.nulls(len(feedback), field.type))


def sampled(dataset: Dataset, clicked_out: pa.Table, cut: int) -> Clickouts:
    """At most CLICKOUTS from `cut` on."""
    rows = np.flatnonzero(microseconds(clicked_out["time"]) >= cut)
    rows = rows[np.linspace(0, len(rows) - 1, min(CLICKOUTS, len(rows))).astype(int)]
    chosen = clicked_out.take(pa.array(rows))
    city = values_of(chosen["request_id"], dataset.slates["request_id"], context(dataset.slates, "city"))
    return Clickouts(
        chosen["user_id"].to_pylist(), chosen["item_id"].to_pylist(), microseconds(chosen["time"]), city.to_pylist()
    )


def write_export(dataset: Dataset, views: pa.Table, folder: Path) -> None:
    """The three files of a shop."""
    items = {"hotel": "item_id", "city": "category", "price": "price"}
    pacsv.write_csv(pa.table({ours: plain(dataset.items[name]) for ours, name in items.items()}), folder / "items.csv")
    columns = {"shopper": plain(views["user_id"]), "hotel": plain(views["item_id"])}
    at = pc.strftime(views["time"], format="%Y-%m-%dT%H:%M:%SZ")
    what = pa.array(["view"] * len(views))
    pacsv.write_csv(pa.table({"what": what, "at": at, **columns}), folder / "views.csv")
    (folder / "mapping.toml").write_text(MAPPING)


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def replayed(engine: RankingEngine, views: pa.Table, clickouts: Clickouts) -> list[list[str]]:
    """The slates served at the clickouts, each after all earlier views came in."""
    time, slates, start = microseconds(views["time"]), [], 0
    for place in range(len(clickouts.item)):
        stop = int(np.searchsorted(time, clickouts.time[place]))
        if stop > start:
            engine.record(views.slice(start, stop - start))
        start = stop
        slates.append(answer(engine, clickouts.user[place], f"clickout {place}", int(clickouts.time[place])))
    return slates


def followed(engine: RankingEngine, users: list[str], city_of: Mapping[str, str], until: int) -> float:
    """The share of shoppers whose next answer begins in the city of what they have just viewed, of a random item."""
    items, rng, follows = list(city_of), np.random.default_rng(SEED), []
    for place, user in enumerate(users):
        item, moment = items[rng.integers(len(items))], until + place * 10
        view = {"feedback_id": f"new {place}", "event": "click", "user_id": user, "item_id": item, "currency": "EUR"}
        time = pa.scalar(moment, pa.timestamp("us", tz="UTC")).as_py()
        engine.record(conform(pa.Table.from_pylist([view | {"time": time}]), FEEDBACK, where="a new view"))
        follows.append(city_of[answer(engine, user, f"after {place}", moment + 1)[0]] == city_of[item])
    return float(np.mean(follows))


def answer(engine: RankingEngine, user: str, request_id: str, time: int) -> list[str]:
    """The items served, first place first."""
    moment = pa.scalar(time, pa.timestamp("us", tz="UTC")).as_py()
    slate = engine.rank(Request(request_id=request_id, time=moment, surface="home", user_id=user, k=max(AT))).slate
    shown = np.flatnonzero(slate.position > 0)
    return slate.item_id[shown[np.argsort(slate.position[shown])]].tolist()


def most_frequent_first(engine: RankingEngine, users: list[str], time: int) -> float:
    """The share of shoppers who get the most frequent first item."""
    first = Counter(answer(engine, user, f"first {user}", time)[0] for user in users)
    return first.most_common(1)[0][1] / len(users)


def baselines(
    views: pa.Table, city_of: Mapping[str, str], cut: int, clickouts: Clickouts
) -> dict[str, list[list[str]]]:
    """The lists of two simple rules at the clickouts."""
    users, items, time = views["user_id"].to_pylist(), views["item_id"].to_pylist(), microseconds(views["time"])
    counts = by_city(items[: int(np.searchsorted(time, cut))], city_of)
    popular = {city: [item for item, _ in count.most_common(max(AT))] for city, count in counts.items()}
    history: dict[str, list[str]] = {}
    lists: dict[str, list[list[str]]] = {"the last item's city": [], "the city searched": []}
    start = 0
    for place, moment in enumerate(clickouts.time.tolist()):
        stop = int(np.searchsorted(time, moment))
        for user, item in zip(users[start:stop], items[start:stop], strict=True):
            history.setdefault(user, []).append(item)
        start = stop
        newest = list(dict.fromkeys(reversed(history.get(clickouts.user[place], []))))
        of_last = city_of.get(newest[0], "") if newest else ""
        for name, city in zip(lists, (of_last, clickouts.city[place]), strict=True):
            lists[name].append(list(dict.fromkeys([*newest, *popular.get(city, popular[""])]))[: max(AT)])
    return lists


def by_city(items: list[str], city_of: Mapping[str, str]) -> dict[str, Counter[str]]:
    """Views by city and item; "" = everywhere."""
    counts: dict[str, Counter[str]] = {"": Counter(items)}
    for item in items:
        counts.setdefault(city_of.get(item, ""), Counter())[item] += 1
    return counts


def recalls(served: list[list[str]], lists: Mapping[str, list[list[str]]], clickouts: Clickouts) -> list[Measure]:
    """recall@k of the clickout's item: served, with the first baseline as its bar, and both baselines."""
    rows, shopper = [], np.array(clickouts.user)
    samples = bootstrap.resample(len(served), np.random.default_rng(SEED), shopper=shopper)
    for k in AT:
        found = {name: hits(these, clickouts, k) for name, these in {"served": served, **lists}.items()}
        bar = found["the last item's city"].mean()
        for name, hit in found.items():
            estimate = bootstrap.means(hit[:, None], samples)[0].estimate()
            title = f"recall@{k}, served" if name == "served" else f"recall@{k}, history, then popular in {name}"
            goal = f">= {bar:.4f}" if name == "served" else None
            rows.append(Measure(title, estimate.value, "share", goal, (estimate.low, estimate.high)))
    return rows


def hits(lists: list[list[str]], clickouts: Clickouts, k: int) -> np.ndarray:
    """float64 [clickouts]: whether the item is among the first k."""
    return np.array([item in these[:k] for these, item in zip(lists, clickouts.item, strict=True)], float)


if __name__ == "__main__":
    main()
