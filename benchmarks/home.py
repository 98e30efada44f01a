"""What does a varied home page cost? Settings of the policy's [slate] section, judged by the simulated market's truth.

A run is trained on the market's log. Its bundle answers the home requests of the week after the log, with the shipped
policy and with settings for home; each is judged by exact expectations on the same requests: the value formula
computed from true probabilities. Beside it stands how alike pages are: the largest share of 500 shoppers who get one
item in their first 10, and how much of a page a shopper saw on one of the two home pages before, untouched.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.record import Measure, record
from benchmarks.true_value import SHOWN, padded, request_of
from jobs.config import RunConfig
from jobs.data import market
from jobs.defaults import policy_of
from jobs.home_variety import home_pages, variety_of
from jobs.run import run_all
from jobs.true_worth import true_worth
from marketplace.memory_log import MemoryLog
from marketplace.schema import SURFACES
from marketplace.simulator import RequestBatch, Simulation, true_difference, true_value
from marketplace.slate import Slate
from serving.bundle import ModelBundle, build_engine, load_bundle
from serving.engine import RankingEngine
from serving.request import Request
from value_model.formula import parse_policy, to_toml

SEED = 7
REQUESTS, SHOPPERS, RETURNING, PAGES = 1_500, 500, 60, 3
SETTINGS = {
    "shipped": "",
    "unheeded = 2": "unheeded = 2",
    "mmr of categories, 1 SAR": 'diversity = { kind = "mmr", strength = 1.0, category = 1.0 }',
    "plackett_luce, 0.1 SAR": 'exploration = { kind = "plackett_luce", temperature = 0.1 }',
}


def main() -> None:
    run = run_all(RunConfig(seed=SEED), Path("runs/benchmark"))
    simulation, rng = market("demo", seed=SEED), np.random.default_rng(SEED)
    requests = simulation.draw_requests(rng, count=REQUESTS, window=(42, 49))
    requests = requests.take(np.flatnonzero(requests.surface == SURFACES.index("home")))
    bundle, ranked, measures = load_bundle(run.path / "bundle"), {}, []
    users = bundle.catalogue.users["user_id"].to_pylist()
    worth = true_worth(simulation, policy_of(simulation.dataset, run.config), requests)
    for name, line in SETTINGS.items():
        with_setting = bundle_with(bundle, line)
        ranked[name] = shown_lists(engine_of(with_setting), simulation, requests)
        value = true_value(simulation, ranked[name], rng=rng, requests=requests, value=worth)["value"]
        measures.append(Measure(f"{name}: true value", value.value, "SAR / request", interval=(value.low, value.high)))
        if name != "shipped":
            pair = ranked[name], ranked["shipped"]
            gap = true_difference(simulation, *pair, rng=rng, requests=requests, value=worth)["value"]
            interval = gap.low, gap.high
            measures.append(Measure(f"{name}: against shipped", gap.value, "SAR / request", interval=interval))
        variety = variety_of(home_pages(engine_of(with_setting), users[:: len(users) // SHOPPERS][:SHOPPERS]))
        bar = f"<= {run.config.variety.most}" if name == "shipped" else None
        measures.append(Measure(f"{name}: largest share with one item", variety.share, "share", bar))
        repeated = seen_again(engine_of(with_setting), users[:: len(users) // RETURNING][:RETURNING])
        measures.append(Measure(f"{name}: of a page, shown on the two before", repeated, "share"))
    record("home", measures, data="simulator, demo size, home requests of the week after the log", seed=SEED)


def bundle_with(bundle: ModelBundle, line: str) -> ModelBundle:
    """The bundle with a further line in its policy's [slate] section."""
    text = to_toml(bundle.policy).replace("[slate.relevance]", f"[slate]\n{line}\n\n[slate.relevance]")
    return replace(bundle, policy=parse_policy(text))


def engine_of(bundle: ModelBundle) -> RankingEngine:
    """An engine that knows at once what it showed."""
    return build_engine(replace(bundle, config=replace(bundle.config, follow_seconds=0.0)), log=MemoryLog())


def shown_lists(engine: RankingEngine, simulation: Simulation, requests: RequestBatch) -> np.ndarray:
    """Catalogue rows int32 [R, SHOWN] as shown, best first."""
    table = simulation.request_table(requests).to_pylist()
    items = (on_page(engine.rank(request_of(row)).slate) for row in table)
    return padded([simulation.item_rows(pa.array(names, pa.string())) for names in items])


def on_page(slate: Slate) -> np.ndarray:
    """The items shown, best first."""
    order = np.argsort(slate.position, kind="stable")
    return slate.item_id[order[(slate.position == 0).sum() :]]


def seen_again(engine: RankingEngine, users: list[str]) -> float:
    """Of PAGES home pages an hour apart: the share of a page that stood on one of the two before, nothing touched."""
    shares = []
    for user in users:
        earlier: list[set[str]] = []
        for page in range(PAGES):
            time = engine.parts.known_until + timedelta(hours=page + 1)
            name = f"{user}, page {page}"
            request = Request(request_id=name, time=time, surface="home", user_id=user, k=SHOWN)
            names = set(on_page(engine.rank(request).slate).tolist())
            if earlier:
                shares.append(len(names & set().union(*earlier[-2:])) / len(names))
            earlier.append(names)
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
