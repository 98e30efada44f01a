"""What does a first phase save, and what does it cost the page?

On a run of the demo market (`make demo`), whose pool of network and trees is dear: pages of 50 of the home page, by
engines that differ in `[phases]` alone, one request after another on each of them, so that all see the same machine.
A page is worth the ranker's values of its 50 items, beside those of the page from all candidates of the same engine
without a first phase. CPU seconds of the whole ranking, its slate logged.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from benchmarks.record import Measure, record, skip
from jobs.data import kept
from marketplace.memory_log import MemoryLog
from marketplace.sqlite_log import SqliteLog
from retrieval.saved_sources import saved_names
from retrieval.surfaces import load_surfaces
from serving.bundle import FIRST_PHASE, ModelBundle, build_engine, load_bundle
from serving.distillation import distilled
from serving.engine import RankingEngine
from serving.manifest import MANIFEST, read_manifest, seal
from serving.request import Request

RUN = Path("runs/demo-simulated")
WARM, MEASURED, PLACES, SEED = 10, 150, 50, 1
WHOLE, WIDE = "500 candidates", "2,000 candidates"
PHASES = {
    WHOLE: {"candidates": 500, "ranked": 0},
    f"{WHOLE}, ranked 200": {"candidates": 500, "ranked": 200},
    WIDE: {"candidates": 2_000, "ranked": 0},
    f"{WIDE}, ranked 200": {"candidates": 2_000, "ranked": 200},
}


def main() -> None:
    if not (RUN / "bundle").exists():
        skip("phased_ranking", f"{RUN} is not there: `make demo` writes it")
        return
    with tempfile.TemporaryDirectory() as home:
        wide = with_wide_recipes(RUN / "bundle", Path(home) / "wide")
        first = distilled(build_engine(wide, log=MemoryLog()), kept(RUN).slates)
        first.save(wide.folder / FIRST_PHASE)
        engines = {
            name: build_engine(
                replace(wide, config=replace(wide.config, **phases)), log=SqliteLog(Path(home) / f"{number}.sqlite")
            )
            for number, (name, phases) in enumerate(PHASES.items())
        }
        measures = measured(engines, wide.catalogue.users["user_id"].to_pylist())
    record("phased_ranking", measures, data="simulated market, the demo's run", seed=SEED)


def with_wide_recipes(bundle: Path, folder: Path) -> ModelBundle:
    """A copy of the bundle whose sources propose enough for 2,000 candidates of home."""
    shutil.copytree(bundle.resolve(), folder)
    file = folder / "surfaces.toml"
    text = file.read_text().replace("ask = 300", "ask = 1500").replace("[home]\n", "[home]\nmost = 2000\n")
    file.write_text(text)
    version = load_surfaces(file, known=saved_names(folder / "retriever")).version
    manifest = read_manifest(folder / MANIFEST)
    seal(folder, versions={**manifest.versions, "surfaces": version}, facts=manifest.facts)
    return load_bundle(folder)


def measured(engines: dict[str, RankingEngine], users: list[str]) -> list[Measure]:
    rng, rows = np.random.default_rng(SEED), []
    until = engines[WHOLE].parts.known_until
    gc.freeze()
    for number in range(WARM + MEASURED):
        request = Request(
            request_id=str(number),
            time=until + timedelta(seconds=number),
            surface="home",
            user_id=users[rng.integers(len(users))],
            k=PLACES,
            context={"country": "SA", "device": "app"},
        )
        rows.append([page_of(engine, request) for engine in engines.values()])
    seconds, first, worth = np.moveaxis(np.array(rows[WARM:]), 2, 0)
    return table(list(engines), seconds, first, worth)


def page_of(engine: RankingEngine, request: Request) -> tuple[float, float, float]:
    """CPU seconds of all, wall seconds of the first phase, and what the page is worth."""
    started = time.process_time()
    ranking = engine.rank(request)
    spent, slate = time.process_time() - started, ranking.slate
    return spent, ranking.seconds.get("first_phase", 0.0), float(slate.value[slate.position > 0].sum())


def table(names: list[str], seconds: np.ndarray, first: np.ndarray, worth: np.ndarray) -> list[Measure]:
    """Columns [requests, engines]."""
    rng, measures = np.random.default_rng(0), []
    draws = rng.integers(0, len(seconds), (1000, len(seconds)))
    for column, name in enumerate(names):
        measures += [
            Measure(f"{name}: p{share}", 1e3 * float(np.percentile(seconds[:, column], share)), "ms")
            for share in (50, 99)
        ]
        if first[:, column].any():
            measures.append(Measure(f"{name}: the first phase, p50", 1e3 * float(np.median(first[:, column])), "ms"))
        if name != WHOLE:
            ratio = seconds[:, column] / seconds[:, names.index(WHOLE)]
            low, high = np.percentile(np.median(ratio[draws], axis=1), [2.5, 97.5])
            measures.append(Measure(f"{name} / {WHOLE}, time", float(np.median(ratio)), "x", None, (low, high)))
        for whole in (WHOLE, WIDE):
            if name != whole:
                share = worth[:, column] / worth[:, names.index(whole)]
                low, high = np.percentile(share[draws].mean(axis=1), [2.5, 97.5])
                measures.append(Measure(f"{name} / {whole}, worth", float(share.mean()), "x", None, (low, high)))
    return measures


if __name__ == "__main__":
    main()
