"""Complete Journey: how many of the products that a household buys in the next month are among its candidates?

Households and products seen before; recall@k = hits / min(k, number bought), mean over households. Once over all
products, and once over those new to the household alone, with its own excluded. The blends are learned in the
month before, on sources that know what came before it, and judged on sources that know what came before the month.
The reference is the household's frequency (half-life 120 days) + 0.3 x popularity (half-life 14 days), as a share of
the most popular.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.peers import peers
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


# Blends are learned in the month between the first two moments, and judged in the time between the last two. The
# sources and their settings were chosen on the second: the first was not looked at before.
PERIODS = {
    "2017-09": (moment(2017, 8), moment(2017, 9), moment(2017, 10)),
    "2017-12": (moment(2017, 11), moment(2017, 12), moment(2018, 2)),
}


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
        return active(past, future, n_items=len(self._items))

    def past(self) -> Interactions:
        """All that the sources learned from."""
        return self._events(None, self._until or 0)

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


def active(past: Interactions, future: Interactions, *, n_items: int) -> Households:
    """Those in both, with what they do in each, of items known in the past."""
    known = np.zeros(n_items, bool)
    known[past.item] = True
    keep = known[future.item]
    names = past.user.dictionary
    place = rows_of(future.user, names)
    keep &= place >= 0
    after = np.unique(np.stack([place[keep], future.item[keep]]), axis=1)
    user = past.users
    order = np.argsort(user, kind="stable")  # of one user in the order they are recorded
    edges = np.arange(1, len(names))
    history = np.split(past.item[order], np.searchsorted(user[order], edges))
    positives = np.split(after[1].astype(np.int32), np.searchsorted(after[0], edges))
    both = [i for i, (before, later) in enumerate(zip(history, positives, strict=True)) if len(before) and len(later)]
    return Households([names[i].as_py() for i in both], [history[i] for i in both], [positives[i] for i in both])


def codes(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.string()).combine_chunks().dictionary_encode().indices.to_numpy()


def main() -> None:
    try:
        dataset = read()
    except FileNotFoundError as error:
        skip(NAME, str(error))
    shop, rows = Shop(dataset), []
    for name, (learn_from, judge_from, end) in PERIODS.items():
        shop.advance(learn_from)
        month = shop.households(judge_from)
        blends = {new: learned(shop, month.cases(new=new)) for new in (False, True)}
        shop.advance(judge_from)
        rows += measures(shop, blends, shop.households(end), period=name)
    record(NAME, rows, data="Complete Journey 2.0 (genuineness disputed)", seed=SEED)


def learned(shop: Shop, cases: list[tuple[Query, np.ndarray]]) -> Blend:
    pools = [retriever(shop).pool(query) for query, _ in cases]
    blend = fit_blend(pools, [positives for _, positives in cases])
    print("blend: " + ", ".join(f"{s.name} {w:.2f}" for s, w in zip(shop.sources, blend.weights, strict=True)))
    return blend


def retriever(shop: Shop, blend: Blend | None = None) -> Retriever:
    """Variants of a source ask little: they are there to score."""
    wide = {"repeats 120 days": 600, "popularity 14 days": 600}
    return Retriever(shop.sources, {s.name: Quota(wide.get(s.name, 150)) for s in shop.sources}, blend=blend)


def measures(shop: Shop, blends: dict[bool, Blend], households: Households, *, period: str) -> list[Measure]:
    rows, others = [], list(peers(shop.past(), n_items=len(shop)))
    for new, bar in ((False, ">= 0.32"), (True, ">= 0.10")):
        cases = households.cases(new=new)
        tables = {
            "merged sources": recalls(retriever(shop, blends[new]), cases),
            "merged by rank, nothing learned": recalls(retriever(shop), cases),
            "reference": recalls(Reference(shop), cases),
            **{peer.name: recalls(peer, cases) for peer in others},
        }
        alone = ("repeats 120 days", "popularity 14 days")
        for source in shop.sources:
            if source.name in alone and not (new and source.name.startswith("repeats")):
                tables[source.name] = recalls(Retriever([source], {source.name: Quota(max(AT))}), cases)
        counts = bootstrap.resample(len(cases), np.random.default_rng(SEED))
        what = "new to the household" if new else "all"
        for name, table in tables.items():
            for k, mean in zip(AT, bootstrap.means(table, counts), strict=True):
                recall = mean.estimate()
                judged = bar if (name, k) == ("merged sources", 100) else None
                label = f"{period}: recall@{k}, {what}, {name}"
                rows.append(Measure(label, recall.value, "share", judged, (recall.low, recall.high)))
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
