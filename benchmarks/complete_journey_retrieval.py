"""Complete Journey: how many of the products that a household buys from 2017-12-01 on are among its candidates?

Households and products seen before; recall@k = hits / min(k, number bought), mean over households. Once over all
products, and once over those new to the household alone, with its own excluded. The blends are learned in November,
on sources that know what came before it, and judged in December on sources that know what came before that.
The reference is the household's frequency (half-life 120 days) + 0.3 x popularity (half-life 14 days), as a share of
the most popular.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.record import Measure, record, skip
from evaluation import bootstrap
from features.interactions import Interactions, interactions
from marketplace.dataset import Dataset
from marketplace.datasets.complete_journey import read
from marketplace.keys import rows_of
from retrieval.blend import Blend, fit_blend
from retrieval.candidates import Candidates, Query
from retrieval.exact import top_rows
from retrieval.retriever import Quota, Retriever
from retrieval.sources.affinity import Affinity
from retrieval.sources.covisits import CoVisits
from retrieval.sources.popularity import Popularity
from retrieval.sources.repeat_purchase import RepeatPurchase
from retrieval.sources.user_history import UserHistory

NAME = "complete_journey_retrieval"
SEED = 0
AT = (20, 100, 500)
HISTORY = 300  # items
SECOND = 1_000_000
NOBODY = Query("", "", np.empty(0, np.int32))


def moment(year: int, month: int) -> int:
    """The month's start, UTC microseconds."""
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * SECOND


NOVEMBER, DECEMBER, END = moment(2017, 11), moment(2017, 12), moment(2018, 2)


class Shop:
    """The sources and what households bought, as of an advancing time."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        listed = dataset.items["item_id"].combine_chunks()
        sold = pc.unique(dataset.feedback["item_id"].cast(pa.string()))
        # The 17 products that were sold and are not in the product file are candidates too, of no known group.
        unlisted = sold.filter(pc.invert(pc.is_in(sold, listed)))
        self._items = pa.concat_arrays([listed, unlisted])
        n = len(self._items)
        groups = {
            name: np.append(codes(dataset.items[name]), np.full(len(unlisted), -1)) + 1
            for name in ("category", "merchant_id", "name")
        }
        self.sources = [
            *(UserHistory(n, half_life_days=days, name=f"repeats {days} days") for days in (14, 45, 120, 1000)),
            RepeatPurchase(n),
            *(Popularity(n, half_life_days=days, name=f"popularity {days} days") for days in (7, 14, 90)),
            *(Affinity(group, name=f"affinity {name}") for name, group in groups.items()),
            CoVisits(n, recency=30.0),
        ]
        self._until: int | None = None

    def __len__(self) -> int:
        return len(self._items)

    def advance(self, until: int) -> None:
        events = self._events(self._until, until)
        for source in self.sources:
            source.update(events)
        self._until = until

    def households(self, until: int) -> Households:
        """Those who bought before now and buy until `until`, with what they do, of products known now."""
        past, future = self._events(None, self._until or 0), self._events(self._until, until)
        known = np.zeros(len(self._items), bool)
        known[past.item] = True
        keep = known[future.item]
        names = past.user.dictionary
        place = rows_of(future.user, names)
        keep &= place >= 0
        bought = np.unique(np.stack([place[keep], future.item[keep]]), axis=1)
        user = past.user.indices.to_numpy()
        order = np.argsort(user, kind="stable")  # interactions come sorted by time
        edges = np.arange(1, len(names))
        history = np.split(past.item[order], np.searchsorted(user[order], edges))
        positives = np.split(bought[1].astype(np.int32), np.searchsorted(bought[0], edges))
        active = [
            i for i, (before, after) in enumerate(zip(history, positives, strict=True)) if len(before) and len(after)
        ]
        return Households(
            [names[i].as_py() for i in active], [history[i] for i in active], [positives[i] for i in active]
        )

    def _events(self, since: int | None, until: int) -> Interactions:
        return interactions(self._dataset.feedback, item_ids=self._items, since=since, until=until)


@dataclass(frozen=True)
class Households:
    """Names, items bought before (oldest first), and items bought after."""

    names: list[str]
    history: list[np.ndarray]
    positives: list[np.ndarray]

    def cases(self, *, new: bool) -> list[tuple[Query, np.ndarray]]:
        """Queries and what they should find; `new` excludes what the household bought before."""
        result = []
        for name, history, positives in zip(self.names, self.history, self.positives, strict=True):
            exclude = np.unique(history) if new else np.empty(0, np.int32)
            target = np.setdiff1d(positives, exclude)
            if len(target):
                result.append((Query(name, "", history[-HISTORY:], exclude=exclude), target))
        return result


def codes(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.string()).combine_chunks().dictionary_encode().indices.to_numpy()


def main() -> None:
    try:
        dataset = read()
    except FileNotFoundError as error:
        skip(NAME, str(error))
    shop = Shop(dataset)
    shop.advance(NOVEMBER)
    november = shop.households(DECEMBER)
    blends = {new: learned(shop, november.cases(new=new)) for new in (False, True)}
    shop.advance(DECEMBER)
    december = shop.households(END)
    print(f"{len(december.names)} households")
    record(NAME, measures(shop, blends, december), data="Complete Journey 2.0 (genuineness disputed)", seed=SEED)


def learned(shop: Shop, cases: list[tuple[Query, np.ndarray]]) -> Blend:
    pools = [retriever(shop).pool(query) for query, _ in cases]
    blend = fit_blend(pools, [positives for _, positives in cases])
    print("blend: " + ", ".join(f"{s.name} {w:.2f}" for s, w in zip(shop.sources, blend.weights, strict=True)))
    return blend


def retriever(shop: Shop, blend: Blend | None = None) -> Retriever:
    """Variants of a source ask little: they are there to score."""
    wide = {"repeats 120 days": 600, "popularity 14 days": 600}
    return Retriever(shop.sources, {s.name: Quota(wide.get(s.name, 150)) for s in shop.sources}, blend=blend)


def measures(shop: Shop, blends: dict[bool, Blend], households: Households) -> list[Measure]:
    rows = []
    for new, bar in ((False, ">= 0.30"), (True, ">= 0.08")):
        cases = households.cases(new=new)
        tables = {
            "merged sources": recalls(retriever(shop, blends[new]), cases),
            "merged by rank, nothing learned": recalls(retriever(shop), cases),
            "reference": recalls(Reference(shop), cases),
        }
        alone = ("repeats 120 days", "popularity 14 days", "affinity category", "covisits")
        for source in shop.sources:
            if source.name in alone and not (new and source.name.startswith("repeats")):
                tables[source.name] = recalls(Retriever([source], {source.name: Quota(max(AT))}), cases)
        counts = bootstrap.resample(len(cases), np.random.default_rng(SEED))
        what = "new to the household" if new else "all"
        for name, table in tables.items():
            for k, mean in zip(AT, bootstrap.means(table, counts), strict=True):
                recall = mean.estimate()
                judged = bar if (name, k) == ("merged sources", 100) else None
                rows.append(
                    Measure(f"recall@{k}, {what}, {name}", recall.value, "share", judged, (recall.low, recall.high))
                )
    return rows


def recalls(merged, cases: list[tuple[Query, np.ndarray]]) -> np.ndarray:  # type: ignore[no-untyped-def]
    """[households, len(AT)]: hits / min(k, number of positives)."""
    table = np.zeros((len(cases), len(AT)))
    for row, (query, positives) in zip(table, cases, strict=True):
        candidates = merged.retrieve(query, k=max(AT)).items
        row[:] = [np.isin(positives, candidates[:k]).sum() / min(k, len(positives)) for k in AT]
    return table


class Reference:
    """Household's decayed frequency + 0.3 x popularity as a share of the most popular, over every product."""

    def __init__(self, shop: Shop) -> None:
        named = {source.name: source for source in shop.sources}
        self._frequency = named["repeats 120 days"]
        self._everything = np.arange(len(shop))
        popular = np.exp(named["popularity 14 days"].score(NOBODY, self._everything))
        self._popular = 0.3 * popular / popular.max()

    def retrieve(self, query: Query, *, k: int) -> Candidates:
        """The k best; an item not bought before has the same small frequency as every other."""
        score = np.exp(self._frequency.score(query, self._everything)) + self._popular
        score[query.exclude] = -np.inf
        best = top_rows(score[None], k=k)[0]
        return Candidates(best.astype(np.int32), np.zeros(k, np.int8), score[best].astype(np.float32), ("reference",))


if __name__ == "__main__":
    main()
