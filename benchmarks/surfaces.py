"""Does a product page follow its product, and does home differ from shopper to shopper?

A run is trained on the simulated market's log. Its bundle answers product pages of 200 products and home pages of 500
shoppers at the end of the log. Purchases are held out in time: the same models over a store and sources that know
only what came before the test period answer its product pages; what the page's visit bought from then on is looked for
in the first 20 places, against counting co-visits of the page's item, filled up by popularity.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.record import Measure, record
from features.store import MemoryStore
from jobs.config import RunConfig
from jobs.data import kept
from jobs.home_variety import home_pages, variety_of
from jobs.run import run_all
from marketplace.dataset import Dataset
from marketplace.memory_log import MemoryLog
from marketplace.schema import moment_of
from marketplace.splits import microseconds, periods
from retrieval.blend import load_blends
from retrieval.build import load_index
from retrieval.candidates import Query
from retrieval.retriever import Quota, Retriever
from retrieval.saved_sources import BLENDS
from retrieval.sources.run_sources import RunSources
from serving.bundle import ModelBundle, build_engine, load_bundle
from serving.candidate_generation import CandidateGenerator
from serving.engine import RankingEngine
from serving.query_tower import OnnxQueryTower
from serving.request import Request
from serving.stages import STAGES

SEED = 7
PRODUCTS, SHOPPERS, TIMED = 200, 500, 300
FIRST, LOOKED_AT = 10, 20  # places: of lists that are compared, and in which purchases are looked for


def main() -> None:
    run = run_all(RunConfig(seed=SEED), Path("runs/benchmark"))
    dataset, bundle = kept(run.path), load_bundle(run.path / "bundle")
    engine = build_engine(bundle, log=MemoryLog())
    users = dataset.users["user_id"].to_pylist()
    measures = product_pages(engine, dataset, user=users[0])
    measures += purchases(bundle, dataset, run.config, run.path)
    variety = variety_of(home_pages(engine, users[:: len(users) // SHOPPERS][:SHOPPERS]))
    name = f"home of {variety.shoppers} shoppers, first {FIRST}"
    measures.append(
        Measure(f"{name}: largest share with one item", variety.share, "share", f"<= {run.config.variety.most}")
    )
    measures.append(Measure(f"{name}: distinct items", variety.items, "items"))
    measures += engine_time(engine, dataset, users)
    record("surfaces", measures, data="simulator, demo size", seed=SEED)


def product_pages(engine: RankingEngine, dataset: Dataset, *, user: str) -> list[Measure]:
    """How many lists PRODUCTS products give, and how much of them has to do with the product."""
    stocked = np.flatnonzero(dataset.items["in_stock"].to_numpy())
    pages = stocked[np.linspace(0, len(stocked) - 1, PRODUCTS).astype(int)]
    category, together = engine.parts.item_table.category, bought_together(dataset)
    lists, related = set(), []
    for page in pages.tolist():
        rows = page_list(engine, page, user=user, when=engine.parts.known_until, k=FIRST, name=f"product {page}")
        lists.add(tuple(rows))
        related += [category[row] == category[page] or (page, row) in together for row in rows]
    name = f"product pages of {len(pages)} products, first {FIRST}"
    return [
        Measure(f"{name}: distinct lists", len(lists), "lists", ">= 150"),
        Measure(f"{name}: same category or bought together", float(np.mean(related)), "share", ">= 0.7"),
    ]


def page_list(engine: RankingEngine, page: int, *, user: str, when, k: int, name: str, session: str | None = None):
    """Catalogue rows shown on a product page, best first."""
    table = engine.parts.item_table
    request = Request(
        request_id=name,
        time=when,
        surface="product_page",
        user_id=user,
        session_id=session,
        page_item_id=table.item_id[page],
        k=k,
    )
    slate = engine.rank(request).slate
    order = np.argsort(slate.position, kind="stable")[(slate.position == 0).sum() :]
    return table.rows(slate.item_id[order]).tolist()


def bought_together(dataset: Dataset) -> set[tuple[int, int]]:
    """Both orders of every pair of items that one visit ordered."""
    orders = dataset.feedback.filter(pc.equal(dataset.feedback["event"].cast(pa.string()), "order"))
    rows, baskets = dataset.item_rows(orders["item_id"]), {}
    for session, row in zip(orders["session_id"].to_pylist(), rows.tolist(), strict=True):
        baskets.setdefault(session, set()).add(row)
    return {(one, other) for basket in baskets.values() for one in basket for other in basket if one != other}


def purchases(bundle: ModelBundle, dataset: Dataset, config: RunConfig, folder: Path) -> list[Measure]:
    """Share of what the page's visit bought that stands in the first places, by the engine and by counting."""
    split = periods(dataset.slates, **asdict(config.periods))
    engine, sources = as_of(bundle, dataset, split.test_from, folder)
    named = {source.name: source for source in sources.sources}
    counting = Retriever(
        [named["also_viewed"]], {"also_viewed": Quota(LOOKED_AT)}, fallback=[named["popularity"]], least=LOOKED_AT
    )
    available, hits = engine.live.parts.availability.mask(split.test_from), []
    for number, (slate, page, bought) in enumerate(cases(dataset, split.test)):
        arguments = {"user": slate["user_id"], "when": slate["time"], "session": slate["session_id"]}
        shown = page_list(engine, page, k=LOOKED_AT, name=f"test {number}", **arguments)
        query = Query(slate["user_id"], "", np.empty(0, np.int32), allowed=available).on_page_of(page)
        counted = counting.retrieve(query, k=LOOKED_AT).items
        hits.append([np.isin(bought, rows).mean() for rows in (shown, counted)])
    ours, theirs = np.array(hits).T
    name = f"purchases of the visits of {len(hits)} product pages, in the first {LOOKED_AT}"
    return [
        measure(f"{name}: engine", ours, bar=f">= {theirs.mean():.4f}"),
        measure(f"{name}: co-visit counting", theirs, bar=None),
        measure(f"{name}: engine - co-visit counting", ours - theirs, bar=None),
    ]


def as_of(bundle: ModelBundle, dataset: Dataset, until: int, folder: Path) -> tuple[RankingEngine, RunSources]:
    """The bundle's models over a store and sources that know what came before `until` (UTC microseconds)."""
    store = MemoryStore.of(dataset, spec=bundle.encoder.spec, until=moment_of(until))
    engine = build_engine(bundle, log=MemoryLog(), store=store)
    sources = RunSources(dataset, segment=dataset.segment, index=load_index(folder / "retrieval" / "index")[0])
    retriever = sources.advance(until).retriever(bundle.recipes, blends=load_blends(folder / "retrieval" / BLENDS))
    tower = OnnxQueryTower(bundle.folder / "retriever" / "query_tower.onnx")
    earlier = CandidateGenerator(
        retriever, engine.parts.item_table, availability=engine.live.parts.availability, tower=tower
    )
    parts = replace(engine.parts, candidate_generator=earlier)
    return RankingEngine(parts, store=store, log=MemoryLog(), live=engine.live, experiments=engine.experiments), sources


def cases(dataset: Dataset, test: np.ndarray):
    """(slate, the page's row, rows bought) of the period's product pages whose visit bought another item afterwards."""
    orders = dataset.feedback.filter(pc.equal(dataset.feedback["event"].cast(pa.string()), "order"))
    bought: dict[str, list[tuple[int, int]]] = {}
    rows, times = dataset.item_rows(orders["item_id"]).tolist(), microseconds(orders["time"]).tolist()
    for session, row, when in zip(orders["session_id"].to_pylist(), rows, times, strict=True):
        bought.setdefault(session, []).append((row, when))
    names = ["time", "user_id", "session_id", "page_item_id"]
    pages = dataset.slates.filter(pc.and_(pa.array(test), dataset.slates["page_item_id"].is_valid())).select(names)
    items = dataset.item_rows(pages["page_item_id"].cast(pa.string())).tolist()
    for slate, page, when in zip(pages.to_pylist(), items, microseconds(pages["time"]).tolist(), strict=True):
        later = {row for row, time_ in bought.get(slate["session_id"], ()) if time_ >= when and row != page}
        if later:
            yield slate, page, np.array(sorted(later))


def measure(name: str, values: np.ndarray, *, bar: str | None) -> Measure:
    """The mean with its bootstrap interval over pages."""
    draws = np.random.default_rng(SEED).integers(0, len(values), (1000, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return Measure(name, float(values.mean()), "share", bar, (float(low), float(high)))


def engine_time(engine: RankingEngine, dataset: Dataset, users: Sequence[str]) -> list[Measure]:
    """Median CPU time of a request of each surface, and of its retrieval."""
    items = dataset.items.select(["item_id", "merchant_id", "name"]).to_pylist()
    timed = RankingEngine(
        engine.parts,
        store=engine.store,
        log=MemoryLog(),
        live=engine.live,
        experiments=engine.experiments,
        clock=time.process_time,
    )
    measures = []
    for surface, (field, column) in {
        "home": (None, None),
        "search": ("query", "name"),
        "store_page": ("page_merchant_id", "merchant_id"),
        "product_page": ("page_item_id", "item_id"),
    }.items():
        spent = []
        for number in range(TIMED):
            page = {} if field is None else {field: items[number * 7 % len(items)][column]}
            name, user = f"{surface} {number}", users[number * 11 % len(users)]
            request = Request(request_id=name, time=engine.parts.known_until, surface=surface, user_id=user, **page)
            seconds = timed.rank(request).seconds
            spent.append([sum(seconds.get(stage, 0.0) for stage in STAGES), seconds["retrieve"]])
        whole, retrieval = 1e3 * np.median(np.array(spent)[TIMED // 3 :], axis=0)
        measures.append(Measure(f"{surface}, engine, cpu, median", float(whole), "ms"))
        measures.append(Measure(f"{surface}, retrieval, cpu, median", float(retrieval), "ms"))
    return measures


if __name__ == "__main__":
    main()
