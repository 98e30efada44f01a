"""Does a search find what was searched for, and what shoppers clicked?

python -m benchmarks.search [RUN]       RUN: a run of the demo market; runs/demo-simulated (`make demo`) if not named

Exact names of items in stock, and names with one slip (one letter exchanged, dropped, doubled, an Arabic spelling
variant, the last letters not typed yet), through the engine of the run's newest bundle. Recorded searches are those
of the test period with a click, asked as a shopper whom nobody knows; beside them stands word match: items of which a
word is in the query, those with most events (seen, clicked, carted, ordered, later ones too) first. Slates of 200.
Bar of the times: home may take 1.42 times the bare model and index search, a search 1.6 times, so 1.13 times home.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from benchmarks.chorus import chorus_measures
from benchmarks.record import Measure, record, skip
from features.text.light_stems import is_arabic
from features.text.normal_form import words
from jobs.data import kept
from jobs.run_folder import RunFolder
from marketplace.dataset import Dataset
from marketplace.memory_log import MemoryLog
from marketplace.slate import Slate
from marketplace.splits import periods
from serving.bundle import build_engine, load_bundle
from serving.engine import RankingEngine
from serving.request import Request

SEED = 1
ITEMS, SHOPPERS, RECORDED, COMMON = 200, 3, 150, 60
VARIANTS = {"أ": "ا", "إ": "ا", "آ": "ا", "ا": "أ", "ة": "ه", "ه": "ة", "ى": "ي", "ي": "ى"}
Slip = Callable[[str, np.random.Generator], str | None]


@dataclass(frozen=True)
class Searching:
    """A run's engine and data."""

    engine: RankingEngine
    dataset: Dataset

    @classmethod
    def of(cls, run: Path) -> Searching:
        return cls(build_engine(load_bundle(run / "bundle"), log=MemoryLog()), kept(run))

    def rank(self, query: str, *, user: str = "nobody", k: int = 10) -> Slate:
        moment = self.engine.parts.known_until + timedelta(minutes=1)
        request = Request(f"search {next(NUMBERS)}", moment, "search", user, k=k, query=query)
        return self.engine.rank(request).slate

    def items(self, query: str, **settings) -> list[str]:  # type: ignore[no-untyped-def]
        """Those shown, first place first."""
        slate = self.rank(query, **settings)
        return slate.item_id[np.argsort(np.where(slate.position > 0, slate.position, np.inf), kind="stable")][
            : int((slate.position > 0).sum())
        ].tolist()


NUMBERS = count()


def exchanged(name: str, rng: np.random.Generator) -> str:
    place = _letter(name, rng)
    letters = [chr(c) for c in (range(0x0628, 0x063A) if is_arabic(name[place]) else range(97, 123))]
    return (
        name[:place]
        + str(rng.choice([letter for letter in letters if letter != name[place].lower()]))
        + name[place + 1 :]
    )


def dropped(name: str, rng: np.random.Generator) -> str:
    place = _letter(name, rng)
    return name[:place] + name[place + 1 :]


def doubled(name: str, rng: np.random.Generator) -> str:
    place = _letter(name, rng)
    return name[:place] + name[place] + name[place:]


def respelt(name: str, rng: np.random.Generator) -> str | None:
    """Alef, ya and ta marbuta in another form, digits in Arabic; None for a name without any of the letters."""
    if not any(letter in VARIANTS for letter in name):
        return None
    return "".join(VARIANTS.get(letter, letter) for letter in name).translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))


def begun(name: str, rng: np.random.Generator) -> str:
    return name[: -int(rng.integers(1, 3))]


SLIPS: dict[str, Slip] = {
    "one letter exchanged": exchanged,
    "one letter dropped": dropped,
    "one letter doubled": doubled,
    "Arabic spelling variant": respelt,
    "last one or two letters not typed yet": begun,
}


def _letter(name: str, rng: np.random.Generator) -> int:
    return int(rng.choice([place for place, letter in enumerate(name) if letter.isalpha()]))


def names_measures(market: Searching, rng: np.random.Generator) -> list[Measure]:
    items = market.dataset.items
    stock = np.flatnonzero(items["in_stock"].to_numpy())
    rows = rng.choice(stock, ITEMS, replace=False)
    names, ids = items["name"].to_pylist(), items["item_id"].to_pylist()
    alike: dict[str, set[str]] = {}
    for row in stock:
        alike.setdefault(names[row], set()).add(ids[row])
    users = rng.choice(market.dataset.users["user_id"].to_pylist(), SHOPPERS, replace=False).tolist()
    first, ten = [], []
    for row in rows:
        for user in users:
            shown = market.items(names[row], user=user)
            first.append(shown[0] in alike[names[row]])
            ten.append(ids[row] in shown)
    measures = [
        Measure("exact names of 200 items in stock x 3 shoppers: at rank 1", float(np.mean(first)), "share", ">= 0.95"),
        Measure("exact names: in the first 10", float(np.mean(ten)), "share", ">= 1.0"),
    ]
    for name, slip in SLIPS.items():
        slipped = [(ids[row], query) for row in rows if (query := slip(names[row], rng)) is not None]
        hits = [item in market.items(query) for item, query in slipped]
        measures.append(
            Measure(f"{name} ({len(hits)} names): in the first 10", float(np.mean(hits)), "share", ">= 0.9")
        )
    return measures


def recorded_measures(market: Searching, run: RunFolder) -> list[Measure]:
    """Clicked items of recorded searches: in the first 20 and 200 of the service and of word match with popularity."""
    queries, clicked = recorded_searches(market.dataset, run)
    popular = popular_items(market.dataset)
    match = WordMatch(market.dataset, popular)
    service, words_ = np.zeros(2), np.zeros(2)
    for query, item in zip(queries, clicked, strict=True):
        for column, shown in ((service, market.items(query, k=200)), (words_, match.items(query))):
            column += [item in shown[:20], item in shown[:200]]
    rows = zip((20, 200), service, words_, strict=True)
    measures = []
    for k, ours, theirs in rows:
        name = f"{len(queries)} recorded searches, unknown shopper: clicked item in the first {k}"
        measures += [
            Measure(name, ours, "searches", f">= {int(theirs)}"),
            Measure(f"{name}, by word match and popularity", theirs, "searches"),
        ]
    return measures


def recorded_searches(dataset: Dataset, run: RunFolder) -> tuple[list[str], list[str]]:
    """(queries, the item clicked first) of RECORDED searches of the test period, spread over it."""
    test = periods(dataset.slates, **asdict(run.config.periods)).test
    searches = dataset.slates.filter(pc.and_(test, pc.is_valid(dataset.slates["query"])))
    clicks = dataset.feedback.filter(pc.equal(dataset.feedback["event"].cast("string"), "click"))
    requests, items = clicks["request_id"].to_pylist(), clicks["item_id"].cast("string").to_pylist()
    first = dict(zip(reversed(requests), reversed(items), strict=True))
    queries = dict(zip(searches["request_id"].to_pylist(), searches["query"].to_pylist(), strict=True))
    answered = [request for request in queries if request in first]
    chosen = [answered[place] for place in np.linspace(0, len(answered) - 1, min(RECORDED, len(answered))).astype(int)]
    return [queries[request] for request in chosen], [first[request] for request in chosen]


def popular_items(dataset: Dataset) -> dict[str, int]:
    """Events by item: impressions, clicks, carts, orders and returns."""
    counted = pc.value_counts(dataset.feedback["item_id"].cast("string")).to_pylist()
    return {row["values"]: row["counts"] for row in counted}


class WordMatch:
    """Items in stock of which a word of name, category or brand is in the query, the most popular first."""

    def __init__(self, dataset: Dataset, popular: dict[str, int]) -> None:
        self._holding: dict[str, set[str]] = {}
        self._popular = popular
        columns = (
            dataset.items[name].to_pylist() for name in ("item_id", "name", "category", "attributes", "in_stock")
        )
        for item, name, category, attributes, in_stock in zip(*columns, strict=True):
            labels = [label for _, label in attributes or ()]
            for word in {*words(name), *words(category), *(w for label in labels for w in words(label))}:
                if in_stock:
                    self._holding.setdefault(word, set()).add(item)

    def items(self, query: str) -> list[str]:
        matched = set().union(*(self._holding.get(word, set()) for word in words(query)))
        return sorted(matched, key=lambda item: (-self._popular.get(item, 0), item))


def relatedness(market: Searching) -> Measure:
    """Of the first 10 for the commonest queries: the share that has a word of the query, or its category."""
    queries = Counter(filter(None, market.dataset.slates["query"].to_pylist())).most_common(COMMON)
    items = market.dataset.items
    ids = items["item_id"].to_pylist()
    held = {
        i: {*words(n), *words(c)}
        for i, n, c in zip(ids, items["name"].to_pylist(), items["category"].to_pylist(), strict=True)
    }
    category = dict(zip(ids, items["category"].to_pylist(), strict=True))
    related = []
    for query, _ in queries:
        searched = set(words(query))
        of_word = Counter(category[item] for item in ids if held[item] & searched)
        meant = {name for name, number in of_word.items() if number >= 0.5 * of_word.most_common(1)[0][1]}
        shown = market.items(query)
        related += [bool(held[item] & searched) or category[item] in meant for item in shown]
    return Measure(
        f"first 10 of the {len(queries)} commonest queries that share a word or its category with the query",
        float(np.mean(related)),
        "share",
        ">= 0.9",
    )


def times(market: Searching, queries: Sequence[str]) -> list[Measure]:
    """Median milliseconds of CPU of the engine: searches of texts that come for the first time and again, and home."""
    engine, moment = market.engine, market.engine.parts.known_until + timedelta(minutes=1)
    for query in queries:
        market.rank(query)
    spent: dict[str, list[float]] = {"home": [], "search, a text that came before": [], "search, a new text": []}
    for place, query in enumerate(queries):
        asked = {
            "home": ("home", None),
            "search, a text that came before": ("search", query),
            "search, a new text": ("search", f"{query} {place}"),
        }
        for name, (surface, text) in asked.items():
            request = Request(f"timed {next(NUMBERS)}", moment, surface, "nobody", k=20, query=text)
            before = time.process_time()
            engine.rank(request)
            spent[name].append(1e3 * (time.process_time() - before))
    middle = {name: float(np.median(values)) for name, values in spent.items()}
    measures = [Measure(f"engine, {name}, p50", value, "ms of CPU") for name, value in middle.items()]
    ratio = middle["search, a new text"] / middle["home"]
    return [*measures, Measure("engine, search of a new text / home", ratio, "x", "<= 1.13")]


def main(folder: Path) -> None:
    if not (folder / "bundle").exists():
        skip("search", f"{folder} holds no bundle; make the demo's run first")
    run, market, rng = RunFolder.open(folder), Searching.of(folder), np.random.default_rng(SEED)
    measures = [*names_measures(market, rng), *recorded_measures(market, run), relatedness(market)]
    measures += times(market, recorded_searches(market.dataset, run)[0])
    record("search", [*measures, *chorus_measures()], data="simulated demo market; Chorus", seed=SEED)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo-simulated"))
