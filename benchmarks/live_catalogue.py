"""Does a service of two workers ever show what was taken out, and how soon does everybody see a change?

100,000 random operations against two gunicorn workers on one log, over the bundle of a run: updates of price, stock,
blocks and expiry, new items, and requests on all surfaces and for candidates by name, by several clients at once. Every
client writes items of its own and waits for each answer, so that it knows what may be shown of them when it asks: a
single item that may not be shown is a mistake, without any time of grace. Then single changes are timed: how long after
its answer the first answer by it comes, and the last that does not know it, whichever worker gives it. And what new
words cost the index of words, alone in this process: the first batches of 20 items, and those that follow 5,000.

    make bench ONLY=live_catalogue      RUN=runs/latest chooses the run whose bundle is served, OPERATIONS=1000 fewer
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import requests

from benchmarks.record import Measure, record, skip
from features.text.documents import Document
from features.text.lexical_index import LexicalIndex
from jobs.serve import running
from marketplace.schema import SURFACES
from serving.bundle import load_bundle

SEED = 1
OPERATIONS, CLIENTS, WORKERS = int(os.environ.get("OPERATIONS", 100_000)), 4, 2
BATCH = 20  # items of an update
PROBES = 200  # changes whose visibility is timed
FURTHER_ITEMS, AVERAGED = 5_000, 25  # whose words come to the index; batches that a figure is the mean of
HOT = 400  # items that are changed and asked for


def main() -> None:
    folder = Path(os.environ.get("RUN", "runs/demo-simulated"))
    if not (folder / "bundle").exists():
        skip("live_catalogue", f"{folder} has no bundle; make it with `make demo`, or name another run in RUN")
    with tempfile.TemporaryDirectory() as home:
        copy = Path(home) / "run"
        shutil.copytree((folder / "bundle").resolve(), copy / "bundle")
        with running(copy, log=copy / "log.sqlite", workers=WORKERS) as address:
            measures = measured(address, copy / "bundle")
    record("live_catalogue", measures, data=f"{folder.name}, {WORKERS} workers", seed=SEED)


def measured(address: str, folder: Path) -> list[Measure]:
    catalogue = load_bundle(folder).catalogue
    stocked = catalogue.items.filter(catalogue.items["in_stock"])
    like = stocked.slice(0, HOT).to_pylist()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [ShopClient(address, like[number::CLIENTS], catalogue, number) for number in range(CLIENTS)]
        share = OPERATIONS // CLIENTS
        tallies = list(pool.map(lambda client: client.work(share), clients))
    seconds, written = visibility(address, like), index_writes(LexicalIndex.load(folder / "lexical"), like)
    total = {name: sum(tally[name] for tally in tallies) for name in tallies[0]}
    return [
        Measure("operations", total["operations"], "operations", ">= 100000"),
        Measure("answers", total["answers"], "answers"),
        Measure("items shown", total["shown"], "items"),
        Measure("hidden items shown", total["wrong"], "items", "<= 0"),
        Measure("refused for a catalogue that moves too fast", total["refused"], "answers"),
        Measure("visible to the worker that was told, p99", 1e3 * float(np.percentile(seconds["told"], 99)), "ms"),
        Measure("visible to both workers, p50", float(np.percentile(seconds["both"], 50)), "s"),
        Measure("visible to both workers, p99", float(np.percentile(seconds["both"], 99)), "s", "<= 1"),
        Measure("words of 20 items into the index, the first", float(written[:AVERAGED].mean()), "ms of CPU"),
        Measure("words of 20 items, after 5,000 others", float(written[-AVERAGED:].mean()), "ms of CPU"),
    ]


def index_writes(index: LexicalIndex, like: list[dict[str, Any]]) -> np.ndarray:
    """Milliseconds of CPU that each batch of words costs the index, float64 [batches]."""
    milliseconds = []
    for start in range(index.rows, index.rows + FURTHER_ITEMS, BATCH):
        items = [(row, like[row % len(like)]) for row in range(start, start + BATCH)]
        documents = {row: Document.of(item["name"], groups=[("category", item["category"])]) for row, item in items}
        before = time.process_time()
        index.upsert(documents)
        milliseconds.append(1e3 * (time.process_time() - before))
    return np.array(milliseconds)


class ShopClient:
    """One caller with items of its own, so that it knows what may be shown of them: nobody else writes them."""

    def __init__(self, address: str, like: list[dict[str, Any]], catalogue: Any, number: int) -> None:
        self._address, self._session = address, requests.Session()
        self._rng = np.random.default_rng([SEED, number])
        self._like, self._number = like, number
        self._names = [row["item_id"] for row in like]
        self._mine = set(self._names)
        self._allowed = dict.fromkeys(self._names, True)
        self._users = catalogue.users["user_id"].to_pylist()[:500]
        self._version = 0
        self.tally = dict.fromkeys(("operations", "answers", "shown", "wrong", "refused"), 0)

    def work(self, operations: int) -> dict[str, int]:
        while self.tally["operations"] < operations:
            if self._rng.random() < 0.6:
                self._write()
            else:
                self._ask()
        return self.tally

    def _write(self) -> None:
        """A batch of changes; each item of it is one operation."""
        chosen = self._rng.choice(self._names, size=min(BATCH, len(self._names)), replace=False)
        updates, allowed = [], {}
        for name in chosen.tolist():
            self._version += 1
            state = ("in_stock", "hidden", "blocked", "expires_at", "price")[self._rng.integers(5)]
            shown = bool(self._rng.random() < 0.5)
            values: dict[str, Any] = {"in_stock": True, "hidden": False, "blocked": False, "expires_at": None}
            if state == "price":
                values, shown = {"price": float(self._rng.integers(1, 500))}, self._allowed[name]
            elif not shown:
                values[state] = {"in_stock": False, "expires_at": "2000-01-01T00:00:00Z"}.get(state, True)
            updates.append({"item_id": name, "version": self._version, **values})
            allowed[name] = shown
        if self._rng.random() < 0.05:
            updates.append(self._begun(allowed))
        self._put(updates)
        self._allowed |= allowed
        self.tally["operations"] += len(updates)

    def _begun(self, allowed: dict[str, bool]) -> dict[str, Any]:
        """A new item of this client's."""
        like = self._like[self._rng.integers(len(self._like))]
        name = f"new {self._number} {self._version}"
        self._names.append(name)
        self._mine.add(name)
        allowed[name] = True
        fields = ("merchant_id", "category", "name", "price")
        return {"item_id": name, "version": self._version} | {column: like[column] for column in fields}

    def _put(self, updates: list[dict[str, Any]]) -> None:
        answer = self._session.put(f"{self._address}/v1/items", json={"items": updates}, timeout=60)
        answer.raise_for_status()
        if answer.json()["unknown"]:
            raise RuntimeError(f"unknown: {answer.json()['unknown']}")

    def _ask(self) -> None:
        """A request; nobody writes this client's items meanwhile, so that what is shown of them must be allowed."""
        self.tally["operations"] += 1
        body: dict[str, Any] = {"user_id": self._users[self._rng.integers(len(self._users))], "k": 50}
        surface = SURFACES[self._rng.integers(len(SURFACES))]
        like = self._like[self._rng.integers(len(self._like))]
        page = {
            "search": {"query": (like["name"] or "a")[:40]},
            "store_page": {"page_merchant_id": like["merchant_id"]},
            "product_page": {"page_item_id": like["item_id"]},
        }
        route = "recommend"
        if self._rng.random() < 0.4:
            route, body["candidates"] = "rank", self._rng.choice(self._names, size=30, replace=False).tolist()
        body |= {"surface": surface, **page.get(surface, {})}
        answer = self._session.post(f"{self._address}/v1/{route}", json=body, timeout=60)
        if answer.status_code == 503:
            self.tally["refused"] += 1
            return
        if answer.status_code == 404:  # no candidate may be shown
            return
        answer.raise_for_status()
        shown = [item["item_id"] for item in answer.json()["items"]]
        self.tally["answers"] += 1
        self.tally["shown"] += len(shown)
        self.tally["wrong"] += sum(not self._allowed[name] for name in shown if name in self._mine)


def visibility(address: str, like: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Seconds from the answer to an update until an answer shows it, and until no answer shows the old state."""
    told, both = [], []
    version = 10_000_000
    for number in range(PROBES):
        name, version = like[number % len(like)]["item_id"], version + 1
        price = 1000.0 + number
        update = {"item_id": name, "version": version, "price": price, "hidden": False, "blocked": False}
        update |= {"in_stock": True, "expires_at": None}
        requests.put(f"{address}/v1/items", json={"items": [update]}, timeout=60).raise_for_status()
        start, first, last_old = time.perf_counter(), None, 0.0
        while time.perf_counter() - start < 1.2:
            asked = time.perf_counter() - start
            body = {"surface": "home", "user_id": "u", "candidates": [name]}
            answer = requests.post(f"{address}/v1/rank", json=body, timeout=60)
            items = answer.json().get("items", [])
            if items and items[0]["price"] == price:
                first = asked if first is None else first
            else:
                last_old = time.perf_counter() - start
            if first is not None and asked > last_old + 0.6:
                break
        told.append(first if first is not None else np.inf)
        both.append(last_old)
    return {"told": told, "both": both}


if __name__ == "__main__":
    main()
