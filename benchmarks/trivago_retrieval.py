"""trivago as served: is the ordered item among 100 candidates, given user, city, filters and history before the view?

Candidates are the items of training views and those touched in the session before the view, never the test's lists.
Towers, counts and prices come from training views; the blend, and the choice of sources, from the last fifth of the
training views, on sources and towers that know only what came before it. The test period is measured once.
Beside it stands what a run of the same data reports, whose sources are the rows of `SOURCES` and whose candidates are
the whole catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.record import Measure, record, skip
from evaluation import bootstrap
from features.backfill import known_before
from features.definitions import standard_spec
from features.encoder import Encoder
from features.interactions import impressions, interactions, joined
from features.snapshot import FeatureSnapshot
from features.spec import FeatureSpec
from jobs.config import RunConfig
from jobs.data import data_root
from jobs.held_out_recall import kept_recall
from jobs.run import data, retrieval
from jobs.run_folder import RunFolder
from marketplace.attribution import attribute
from marketplace.dataset import Dataset
from marketplace.datasets.trivago import read_trivago
from marketplace.keys import values_of
from marketplace.slate_columns import context, flat, request_of_rows, to_numpy
from marketplace.splits import TimeSplit, microseconds, split
from retrieval.blend import Blend, fit_blend
from retrieval.build import build_index
from retrieval.candidates import CandidateSource, Query
from retrieval.config import RetrievalConfig
from retrieval.pairs import item_inputs, pairs
from retrieval.retriever import Quota, Retriever
from retrieval.segment_counts import SEPARATOR
from retrieval.sources.affinity import Affinity
from retrieval.sources.covisits import CoVisits
from retrieval.sources.popularity import Popularity
from retrieval.sources.recent import Recent
from retrieval.sources.similar_segments import SimilarSegments
from retrieval.sources.two_tower_source import TwoTowerSource
from retrieval.sources.user_history import UserHistory
from retrieval.tower_training import fit
from retrieval.two_tower import TwoTower

NAME = "trivago_retrieval"
SEED = 0
AT = (20, 100, 500)
CITY, COUNTRY, FILTERS = 0, 1, 2  # the parts of a segment
EVENTS = {"click": 0.3, "order": 1.0}
SHOWN = 0.3  # weight of an item shown at position 1 in the towers' training, in orders; / sqrt(position) below
PRICE_STEP = 0.25  # width of a price band, in log price
SURE = ("recent", "repeats")  # what the user touched is few, and is always among the candidates
CONFIG = RetrievalConfig(epochs=10, patience=3, dimensions=32, table_width=16, temperature=0.1)


@dataclass(frozen=True)
class HotelRequests:
    """The data, its requests with features as of their time, and the split."""

    dataset: Dataset
    known: FeatureSnapshot
    weight: np.ndarray  # float [N]: in orders
    outer: TimeSplit

    @property
    def slates(self) -> pa.Table:
        return self.dataset.slates

    @property
    def item(self) -> np.ndarray:
        """int32 [N]: catalogue row."""
        return self.known.state.item

    @cached_property
    def time(self) -> np.ndarray:
        return microseconds(self.slates["time"])

    @cached_property
    def request(self) -> np.ndarray:
        """int64 [N]: row -> request."""
        return request_of_rows(self.slates)

    @cached_property
    def segments(self) -> pa.Array:
        """[R]: city|country|filters."""
        city, filters = (context(self.slates, name) for name in ("city", "filters"))
        country = pc.utf8_trim_whitespace(pc.replace_substring_regex(city, "^.*,", ""))
        return pc.binary_join_element_wise(city, country, pc.replace_substring(filters, "|", ";"), SEPARATOR)

    @cached_property
    def feedback_segments(self) -> pa.Array:
        """[feedback]: that of the answered slate, else the session's first without its filters."""
        slates, feedback = self.slates, self.dataset.feedback
        plain = pc.replace_substring_regex(self.segments, r"[^|]*$", "")
        of_request = values_of(feedback["request_id"], slates["request_id"], self.segments)
        return pc.coalesce(of_request, values_of(feedback["session_id"], slates["session_id"], plain))

    def candidates(self, cut: int) -> np.ndarray:
        """Bool [n_items]: in a list of a view before `cut`."""
        rows = (self.time < cut)[self.request]
        known = np.zeros(len(self.dataset.items), bool)
        known[self.item[rows]] = True
        return known

    def price(self, cut: int) -> np.ndarray:
        """Float [n_items]: median price shown before `cut`, NaN where never shown."""
        rows = (self.time < cut)[self.request]
        shown = pd.Series(to_numpy(flat(self.slates, "price"))[rows])
        median = shown.groupby(self.item[rows]).median()
        return median.reindex(range(len(self.dataset.items))).to_numpy()

    @cached_property
    def touched_before(self) -> list[np.ndarray]:
        """[R] arrays of catalogue rows touched in the session before the view."""
        feedback, slates = self.dataset.feedback, self.slates
        item = self.known.catalogue.rows(feedback["item_id"])
        events = pd.DataFrame({"session": feedback["session_id"].cast(pa.string()).to_pandas(), "item": item})
        events["time"] = microseconds(feedback["time"])
        by_session = dict(list(events.groupby("session", sort=False)))
        empty = events.iloc[:0]
        result = []
        for session, time in zip(slates["session_id"].to_pylist(), self.time, strict=True):
            past = by_session.get(session, empty)
            result.append(past["item"].to_numpy()[past["time"].to_numpy() < time].astype(np.int32))
        return result


@dataclass(frozen=True)
class Cases:
    """Requests of a period with an order, as queries, and what each ordered."""

    queries: list[Query]
    ordered: list[np.ndarray]


def main() -> None:
    path = data_root() / "trivago" / "trivago_val_100k.parquet"
    if not path.exists():
        skip(NAME, f"{path} is absent; set VALUE_MODEL_DATA to the folder of the data sets.")
    market = load(path)
    outer = market.outer
    inner = split(market.slates.filter(pa.array(outer.train)))
    validation = outer.train & (market.time >= inner.cut)
    early, early_towers = learned(market, cut=inner.cut)
    fitting = cases(market, validation, cut=inner.cut, towers=early_towers)
    pools = [retriever(early).pool(query) for query in fitting.queries]
    blend = fit_blend(pools, fitting.ordered)
    print("blend: " + ", ".join(f"{s.name} {w:.2f}" for s, w in zip(early, blend.weights, strict=True)))
    print_validation(market, early, fitting)
    sources, towers = learned(market, cut=outer.cut)
    test = cases(market, outer.test, cut=outer.cut, towers=towers)
    rows = [*measures(sources, blend, test, market), *through_a_run()]
    record(NAME, rows, data="trivago, as served", seed=SEED)


def through_a_run() -> list[Measure]:
    """What `value-model run --data trivago` reports of its retrieval: mean over requests, every item a candidate."""
    with TemporaryDirectory() as folder:
        run = RunFolder.create(Path(folder), RunConfig(data="trivago"))
        for stage in (data, retrieval):
            stage(run)
        recall = kept_recall(run.path / "retrieval")
    rows = []
    for name in (f"{cohort}recall@{k}" for cohort in ("", "new items ", "new shoppers ") for k in AT):
        if share := recall.get(name):
            bar = ">= 0.47" if name == "recall@100" else None
            rows.append(Measure(f"through a run: {name}", share.value, "share", bar, (share.low, share.high)))
    return rows


def load(path: Path) -> HotelRequests:
    dataset = read_trivago(path, protocol="as_served")
    spec = standard_spec(context=("city", "country", "platform", "device", "sort", "opened_by"), text=False)
    # A city of the request and a city of an item are one thing: one embedding serves both.
    shared = FeatureSpec(tuple(replace(f, vocabulary="category") if f.name == "city" else f for f in spec.features))
    label = attribute(dataset.slates, dataset.feedback).labels
    click, order = (to_numpy(label[name]).astype(float) for name in ("click", "order"))
    weight = np.maximum(click * EVENTS["click"], order)
    outer = split(dataset.slates)
    market = HotelRequests(dataset, known_before(dataset, dataset.slates, spec=shared), weight, outer)
    dataset = replace(dataset, items=with_prices(dataset.items, market.price(outer.cut)))
    return HotelRequests(dataset, known_before(dataset, dataset.slates, spec=shared), weight, outer)


def with_prices(items: pa.Table, price: np.ndarray) -> pa.Table:
    """The catalogue with prices of training views alone; the median where there is none."""
    filled = pa.array(np.where(np.isnan(price), np.nanmedian(price), price))
    return items.set_column(items.column_names.index("price"), items.schema.field("price"), filled)


def learned(market: HotelRequests, *, cut: int) -> tuple[list[CandidateSource], np.ndarray]:
    """Every source as of `cut`, and the query embeddings of all requests."""
    items, n = market.dataset.items["item_id"], len(market.dataset.items)
    slates = market.slates
    events = interactions(
        market.dataset.feedback, item_ids=items, until=cut, segment=market.feedback_segments, weights=EVENTS
    )
    shown = impressions(slates, item_ids=items, until=cut, segment=market.segments, weight=1.0, discount=0.0)
    both = joined(events, impressions(slates, item_ids=items, until=cut, segment=market.segments, weight=0.3))
    popularity = [
        Popularity(n, half_life_days=30, prior=0.5, levels=levels, name=name)
        for name, levels in (("popularity", (CITY,)), ("country", (COUNTRY,)), ("filters", (CITY, FILTERS)))
    ]
    plain = Popularity(n, half_life_days=30, prior=0.5, levels=(CITY,), name="shown")
    repeats, related = UserHistory(n), SimilarSegments(n, levels=(CITY,))
    affinity = Affinity(bands(market, cut), strength=1.0, damping=2.0)
    covisits = CoVisits(n, damping=1.0)
    for source in (*popularity, affinity):
        source.update(both)
    plain.update(shown)
    related.update(shown)
    repeats.update(events)
    covisits.update(joined(events, shown))
    nearest, embeddings = towers_as_of(market, cut)
    return [*popularity, plain, repeats, Recent(n), related, affinity, covisits, nearest], embeddings


def bands(market: HotelRequests, cut: int) -> np.ndarray:
    """Int32 [n_items]: the item's city and price band around the city's median."""
    log_price = pd.Series(np.log(market.price(cut)))
    city = market.known.catalogue.merchant
    relative = log_price - log_price.groupby(city).transform("median")
    band = np.nan_to_num(np.clip(np.floor(relative / PRICE_STEP), -4, 4), nan=5.0)
    return (city * 10 + band + 4).astype(np.int32)


def towers_as_of(market: HotelRequests, cut: int) -> tuple[TwoTowerSource, np.ndarray]:
    """The towers trained on views before `cut`; they stop early on what the last tenth of those wanted.

    Items that were shown and not touched are faint wishes too: they say what a city's lists hold, and there are
    twenty of them for each that was touched.
    """
    rng = np.random.default_rng(SEED)
    before = market.time < cut
    late = before & (market.time >= np.quantile(market.time[before], 0.9))
    frame = market.known.frame()
    encoder = Encoder.fit(frame, requests=before, min_count=2)
    items = item_inputs(market.known.catalogue, encoder)
    inputs = encoder.encode(frame)
    faint = SHOWN / np.sqrt(to_numpy(flat(market.slates, "position")))
    positives = pairs(inputs, item=market.item, weight=market.weight)
    shown = pairs(inputs, item=market.item, weight=np.maximum(market.weight, faint))
    towers = TwoTower(encoder.spec, encoder.sizes, config=CONFIG, rng=rng)
    train, held_out = shown.select((before & ~late)[shown.request]), positives.select(late[positives.request])
    fit(towers, train, held_out, items, rng=rng)
    queries = towers.embed_queries(positives.user_codes, positives.user_lists, positives.user_numbers)
    return TwoTowerSource(build_index("exact", towers.embed_items(items), queries=queries[:16])), queries


def cases(market: HotelRequests, period: np.ndarray, *, cut: int, towers: np.ndarray) -> Cases:
    known, segments = market.candidates(cut), market.segments.to_pylist()
    users = market.slates["user_id"].to_pylist()
    offsets = market.known.state.offsets
    queries, positives = [], []
    for request in np.flatnonzero(period).tolist():
        rows = slice(offsets[request], offsets[request + 1])
        ordered = market.item[rows][market.weight[rows] >= EVENTS["order"]]
        if not len(ordered):
            continue
        allowed, history = known.copy(), market.known.history[request]
        allowed[market.touched_before[request]] = True
        history = history[history >= 0]
        queries.append(Query(users[request], segments[request], history, towers[request], allowed))
        positives.append(ordered)
    return Cases(queries, positives)


def retriever(sources: list[CandidateSource], blend: Blend | None = None) -> Retriever:
    wide = ("popularity", *SURE)
    quotas = {
        source.name: Quota(600 if source.name in wide else 200, sure=60 if source.name in SURE else 0)
        for source in sources
    }
    return Retriever(sources, quotas, blend=blend)


def hits(merged: Retriever, test: Cases) -> np.ndarray:
    """[requests, len(AT) + 1]: ordered items found at each k, and ordered items."""
    table = np.zeros((len(test.queries), len(AT) + 1))
    for row, query, ordered in zip(table, test.queries, test.ordered, strict=True):
        items = merged.retrieve(query, k=max(AT)).items
        row[:] = [*(np.isin(ordered, items[:k]).sum() for k in AT), len(ordered)]
    return table


def print_validation(market: HotelRequests, sources: list[CandidateSource], fitting: Cases) -> None:
    """Merged recall on validation requests that the blend was not fitted on."""
    odd, even = (Cases(fitting.queries[start::2], fitting.ordered[start::2]) for start in (1, 0))
    blend = fit_blend([retriever(sources).pool(query) for query in odd.queries], odd.ordered)
    total = hits(retriever(sources, blend), even).sum(axis=0)
    print("validation, other half: " + ", ".join(f"recall@{k} {total[i] / total[-1]:.3f}" for i, k in enumerate(AT)))


def measures(sources: list[CandidateSource], blend: Blend, test: Cases, market: HotelRequests) -> list[Measure]:
    alone = {source.name: Retriever([source], {source.name: Quota(max(AT))}) for source in sources}
    merged = {"merged sources": retriever(sources, blend), "merged by rank, nothing learned": retriever(sources)}
    counts = bootstrap.resample(len(test.queries), np.random.default_rng(SEED))
    rows = []
    for name, one in (merged | alone).items():
        table = hits(one, test)
        draws = bootstrap.totals(table, counts)
        for column, k in enumerate(AT if name in merged else (100,)):
            column = AT.index(k)
            share = draws[:, column] / draws[:, -1]
            low, high = np.quantile(share, [0.025, 0.975])
            bar = ">= 0.50" if (name, k) == ("merged sources", 100) else None
            value = float(table[:, column].sum() / table[:, -1].sum())
            rows.append(Measure(f"recall@{k}, {name}", value, "share of orders", bar, (float(low), float(high))))
    reachable = [query.allowed[ordered].sum() for query, ordered in zip(test.queries, test.ordered, strict=True)]  # type: ignore[index]
    ceiling = sum(reachable) / sum(len(ordered) for ordered in test.ordered)
    return [*rows, Measure("ceiling: ordered items that are candidates at all", float(ceiling), "share of orders")]


if __name__ == "__main__":
    main()
