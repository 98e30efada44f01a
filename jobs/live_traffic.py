"""Traffic of a simulated market before a service: launches, prices and stock, requests over HTTP, and what shoppers do.

Market time passes as fast as the service answers: every request and event bears its own. Beside each answer stands that
of the first bundle, which follows the same log and catalogue and is never trained again, and the best list of all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import requests as http

from jobs.generation import BUNDLES, Generations
from jobs.live_market import FIRST, PAGES, catalogue_updates
from marketplace.simulator import RequestBatch, Simulation, best_of_catalogue
from marketplace.simulator.shown import slate_length
from marketplace.sqlite_log import SqliteLog
from serving.engine import RankingEngine
from serving.manifest import MANIFEST, read_manifest
from serving.request import Request, UnknownName
from serving.stages import Stages

JUDGED = 2  # of so many requests one is answered by the first bundle too, and judged
SLICE = 1 / 288  # of a day: updates and feedback are sent every five minutes of the market
BATCH = 400  # events and items a call
PATIENCE = 100  # times that a busy service is called again
TRIED_AGAIN = 0.1  # seconds


@dataclass
class Answers:
    """Of R requests of one day that are judged: ranked items int32 [R, k] (-1 = none); and how all came about."""

    requests: RequestBatch
    live: np.ndarray
    frozen: np.ndarray
    oracle: np.ndarray
    lag: list[float] = field(default_factory=list)  # hours from the last moment that the models know to the request
    generations: set[int] = field(default_factory=set)
    refused: int = 0
    fresh: float = float("nan")  # seconds from the answer to PUT /v1/items to the first ranking by it


@dataclass
class Acknowledged:
    """What the service has confirmed: it must be on record."""

    slates: set[str] = field(default_factory=set)
    events: set[str] = field(default_factory=set)

    def lost(self, log: SqliteLog) -> int:
        """How many of them the log does not hold, believed or set apart."""
        held = set(log.slates(columns=("request_id",))["request_id"].to_pylist())
        known = set(log.feedback()["feedback_id"].to_pylist()) | set(log.quarantined()["feedback_id"].to_pylist())
        return len(self.slates - held) + len(self.events - known)


class Traffic:
    """The market's shoppers and its shop, before a service at `address` whose folder is `home`."""

    def __init__(
        self, simulation: Simulation, address: str, home: Path, frozen: RankingEngine, rng: np.random.Generator
    ) -> None:
        self.simulation, self.address, self.home, self.frozen, self.rng = simulation, address, home, frozen, rng
        self.acknowledged = Acknowledged()
        self.updates = list(catalogue_updates(simulation))
        self.session = http.Session()
        self.pending: list[tuple[datetime, dict[str, Any]]] = []  # events to come, in order of time
        self.bundles: dict[str, tuple[int, datetime]] = {}  # ranker version -> generation, the last moment it knows

    def day(self, number: int, *, count: int) -> Answers:
        """Market day 0, 1, ... of the service, slice by slice: updates, requests, the events that have come by then."""
        window = (float(FIRST + number), float(FIRST + number + 1))
        batch = self.simulation.draw_requests(self.rng, count=count, window=window)
        table = self.simulation.request_table(batch, prefix=f"day{number}-")
        lengths = slate_length(self.simulation.config, batch)
        width = int(lengths.max())
        live, frozen = (np.full((len(batch), width), -1, np.int32) for _ in range(2))
        answers = Answers(batch, live, frozen, oracle=live)
        ends = np.arange(window[0], window[1], SLICE) + SLICE
        edges = np.append(0, np.searchsorted(batch.day, ends))
        answers.fresh = self._freshness(window[0])
        for end, low, high in zip(ends, edges[:-1], edges[1:], strict=True):
            self._send_updates(float(end) - SLICE)
            for row, fields in enumerate(table.slice(low, high - low).to_pylist(), start=int(low)):
                self._ask(fields, row, int(lengths[row]), answers)
            rows = slice(int(low), int(high))
            if high > low:
                self._look(table.slice(low, high - low), batch.take(rows), live[rows], prefix=f"{number}.{low}-")
            self._send_events(self.simulation.config.start + timedelta(days=float(end)))
        judged = batch.take(slice(None, None, JUDGED))
        oracle = best_of_catalogue(self.simulation, judged)
        return replace(answers, requests=judged, live=live[::JUDGED], frozen=frozen[::JUDGED], oracle=oracle)

    def _ask(self, fields: dict[str, Any], row: int, k: int, answers: Answers) -> None:
        """One request, of the service, and of the first bundle where it is judged."""
        body = {name: value for name, value in fields.items() if name != "currency" and value is not None}
        body |= {"context": dict(fields["context"]), "k": k}
        reply = self._send("post", "recommend", body, accepted=(200, 404))
        if reply.status_code == 200:
            answer = reply.json()
            self.acknowledged.slates.add(fields["request_id"])
            answers.live[row, : len(answer["items"])] = self._rows([item["item_id"] for item in answer["items"]])
            generation, known = self._generation(answer["versions"]["ranker"])
            answers.generations.add(generation)
            answers.lag.append((fields["time"] - known) / timedelta(hours=1))
        else:
            answers.refused += 1
        if row % JUDGED == 0:
            answers.frozen[row] = self._as_frozen(fields, k, width=answers.frozen.shape[1])

    def _as_frozen(self, fields: Mapping[str, Any], k: int, *, width: int) -> np.ndarray:
        """int32 [width]: what the first bundle would show now, knowing what the log holds."""
        self.frozen.read_log()
        ranked = np.full(width, -1, np.int32)
        names = ("request_id", "time", "surface", "user_id", *PAGES)
        request = Request(**{name: fields[name] for name in names}, context=dict(fields["context"]), k=k)
        try:
            slate = self.frozen.answer(request, Stages(time.perf_counter)).slate
        except UnknownName:
            return ranked
        shown = slate.position > 0
        ordered = slate.item_id[shown][np.argsort(slate.position[shown])]
        ranked[: len(ordered)] = self._rows(ordered.tolist())
        return ranked

    def _look(self, table: pa.Table, batch: RequestBatch, ranked: np.ndarray, *, prefix: str) -> None:
        """What shoppers do with the lists of a slice, to be sent when its time has come."""
        events = self.simulation.draw_feedback(batch, ranked, self.rng, prefix=prefix).to_pylist()
        request = [int(event["request_id"].removeprefix(prefix)) for event in events]
        names, visits = table["request_id"].to_pylist(), table["session_id"].to_pylist()
        for event, row in zip(events, request, strict=True):
            kept = {name: event[name] for name in ("feedback_id", "event", "user_id", "item_id", "amount", "currency")}
            kept |= {"request_id": names[row], "session_id": visits[row], "time": event["time"]}
            self.pending.append((event["time"], {name: value for name, value in kept.items() if value is not None}))
        self.pending.sort(key=lambda pair: pair[0])

    def _send_events(self, until: datetime) -> None:
        come = [event for moment, event in self.pending if moment < until]
        self.pending = self.pending[len(come) :]
        for low in range(0, len(come), BATCH):
            self._send("post", "feedback", {"events": come[low : low + BATCH]})
            self.acknowledged.events |= {event["feedback_id"] for event in come[low : low + BATCH]}

    def _send_updates(self, until: float) -> None:
        come = [body for day, body in self.updates if day < until]
        self.updates = self.updates[len(come) :]
        for low in range(0, len(come), BATCH):
            self._send("put", "items", {"items": come[low : low + BATCH]})

    def _freshness(self, day: float) -> float:
        """Seconds from the answer to a new price to the first ranking by it; then the price is as it was."""
        moves, items = self.simulation.market.moves, self.simulation.market.items
        calm = np.isinf(moves.repriced) & np.isinf(moves.out_from) & np.isinf(items.available) & items.in_stock
        item = self.simulation.dataset.items["item_id"][int(np.argmax(calm))].as_py()
        usual, version = float(items.price[np.argmax(calm)]), time.time_ns() // 1_000_000
        update = {"item_id": item, "version": version, "price": usual + 1.0}
        self._send("put", "items", {"items": [update]})
        begun, moment = time.perf_counter(), self.simulation.config.start + timedelta(days=day)
        body = {"surface": "home", "user_id": "freshness", "candidates": [item], "time": moment, "k": 1}
        while self._send("post", "rank", body).json()["items"][0]["price"] == usual:
            pass
        seconds = time.perf_counter() - begun
        self._send("put", "items", {"items": [update | {"version": version + 1, "price": usual}]})
        return seconds

    def _generation(self, ranker: str) -> tuple[int, datetime]:
        """Of the bundle with that ranker: its generation, 0 = the first, and the last moment that it knows."""
        if ranker not in self.bundles:
            by_bundle = {verdict.bundle: number for number, verdict in Generations(self.home).verdicts}
            for folder in (self.home / BUNDLES).glob("[0-9]*"):
                manifest = read_manifest(folder / MANIFEST)
                known = datetime.fromisoformat(str(manifest.facts["known_until"]))
                self.bundles[manifest.versions["ranker"]] = by_bundle.get(folder.name, 0), known
        return self.bundles[ranker]

    def _rows(self, names: Sequence[str]) -> np.ndarray:
        return self.simulation.item_rows(pa.array(names, pa.string()))

    def _send(
        self, method: str, route: str, body: Mapping[str, Any], *, accepted: Sequence[int] = (200,)
    ) -> http.Response:
        """The answer; a busy service is called again. Raises ValueError for a status that is not `accepted`."""
        for _ in range(PATIENCE):
            reply = self.session.request(
                method,
                f"{self.address}/v1/{route}",
                data=orjson.dumps(body),
                headers={"content-type": "application/json"},
                timeout=60,
            )
            if reply.status_code != 503:
                break
            time.sleep(TRIED_AGAIN)
        if reply.status_code not in accepted:
            raise ValueError(f"the service refused {route}: {reply.status_code} {reply.text}")
        return reply
