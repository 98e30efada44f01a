"""The candidate sources of a run: which there are, and that what a group's lists showed is counted up to the cut."""

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from marketplace.schema import TIME
from marketplace.simulator import SimulatorConfig, simulate
from marketplace.splits import microseconds
from retrieval.candidates import Query
from retrieval.config import SourcesConfig
from retrieval.labelled_requests import segment_of_requests
from retrieval.sources.run_sources import RunSources


@pytest.fixture(scope="module")
def dataset():
    small = replace(SimulatorConfig.small(), requests=300, users=80, items=200, merchants=20)
    simulated = simulate(small, np.random.default_rng(5)).dataset
    items = simulated.items.drop_columns("available_from")  # launch times bring a source of their own
    undated = items.append_column("available_from", pa.nulls(len(items), TIME)).select(simulated.items.column_names)
    return replace(simulated, items=undated.cast(simulated.items.schema), has_text=False)


PAGE = ("similar", "also_viewed", "bought_together", "same_merchant")


def names(dataset, segment):
    return [source.name for source in RunSources(dataset, segment=segment, index=None).sources]


def numbers(thing) -> list[float]:
    """The numbers that a source was built with."""
    if isinstance(thing, int | float):
        return [thing]
    held = thing if isinstance(thing, dict) else getattr(thing, "__dict__", {})
    parts = thing if isinstance(thing, tuple) else held.values()
    return [number for part in parts for number in numbers(part)]


@pytest.mark.parametrize("name", [field.name for field in fields(SourcesConfig)])
def test_every_setting_reaches_a_source(dataset, name):
    items = dataset.items.drop_columns("available_from")
    launched = items.append_column("available_from", pa.array([0] * len(items), TIME))
    worlds = (replace(dataset, items=launched), replace(dataset, slates=dataset.slates.slice(0, 0)))
    config = replace(SourcesConfig(), **{name: 7})
    built = [
        [numbers(s) for w in worlds for s in RunSources(w, segment="city", index=None, config=one).sources]
        for one in (SourcesConfig(), config)
    ]
    assert built[0] != built[1]


def test_what_was_recorded_decides_which_sources_there_are(dataset):
    assert names(dataset, "user_segment") == ["popularity", "repeats", "covisits", *PAGE]
    of_lists = ["popularity", "repeats", "covisits", "affinity", "shown", *PAGE, "related", "recent"]
    assert names(dataset, "city") == of_lists
    views = replace(dataset, slates=dataset.slates.slice(0, 0))
    assert names(views, "user_segment") == [
        "popularity",
        "repeats",
        "covisits",
        "affinity",
        "rebuys",
        "similar_shoppers",
        *PAGE,
        "recent",
    ]
    orders = dataset.feedback.filter(pc.equal(dataset.feedback["event"].cast(pa.string()), "order"))
    purchases = replace(views, feedback=orders)
    assert names(purchases, "user_segment") == [
        "popularity",
        "repeats",
        "affinity",
        "rebuys",
        "similar_shoppers",
        "similar",
        "bought_together",
        "same_merchant",
    ]
    catalogue = replace(views, feedback=orders.slice(0, 0))
    assert names(catalogue, "user_segment") == ["popularity", "repeats", "similar", "same_merchant", "sample"]
    assert names(replace(catalogue, has_text=True), "user_segment")[-1] == "lexical"


def test_what_a_citys_lists_showed_before_the_cut_is_proposed(dataset):
    time, city = microseconds(dataset.slates["time"]), segment_of_requests(dataset, dataset.slates, "city")
    cut = int(np.median(time))
    sources = RunSources(dataset, segment="city", index=None).advance(int(time[60])).advance(cut)
    popular, shown = (sources.sources[sources.names.index(name)] for name in ("popularity", "shown"))
    rows = dict(zip(dataset.items["item_id"].to_pylist(), range(len(dataset.items)), strict=True))
    seen = Counter()
    name = Counter(city[time < cut].tolist()).most_common(1)[0][0]
    for slate, when, where in zip(dataset.slates.select(["item_id", "position"]).to_pylist(), time, city, strict=True):
        places = zip(slate["item_id"], slate["position"], strict=True)
        seen.update(rows[item] for item, place in places if place > 0 and when < cut and where == name)
    proposed, _ = shown.propose(Query("u", name, np.empty(0, np.int32)), k=len(rows))
    assert set(seen) <= set(proposed.tolist())
    assert set(seen) <= set(popular.propose(Query("u", name, np.empty(0, np.int32)), k=len(rows))[0].tolist())
    elsewhere = Query("u", "nowhere", np.empty(0, np.int32))
    best, often = proposed[:10].tolist(), [seen[item] for item in proposed[:10].tolist()]
    assert min(often) >= 1
    assert best != shown.propose(elsewhere, k=10)[0].tolist()
