"""Train what proposes candidates: the two towers, their index, the candidate sources, and each surface's blend of them.

Every part is judged on a later time than it learned from: the towers stop early on the validation period's positives,
the blends are fitted there on sources that know only what came before it, and the test period is seen by nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluation import bootstrap
from evaluation.estimate import Estimate
from features.encoder import Encoder
from features.interactions import EVENT_WEIGHTS
from jobs.data import kept
from jobs.defaults import spec_of
from jobs.prepare import CANDIDATES
from jobs.provenance import keep_losses
from jobs.run_folder import RunFolder
from jobs.run_surfaces import recipes_of
from marketplace.splits import Periods, periods
from retrieval.blend import Blends, fit_blend, save_blends
from retrieval.build import build_index, save_index
from retrieval.candidates import Query
from retrieval.labelled_requests import LabelledRequests, labelled_requests
from retrieval.pairs import ItemInputs, Pairs, item_inputs, pairs
from retrieval.retriever import Quota, Retriever
from retrieval.saved_sources import BLENDS
from retrieval.sources.run_sources import RunSources
from retrieval.surface_retriever import SurfaceRetriever
from retrieval.tower_training import fit
from retrieval.two_tower import TwoTower

FEWEST_OF_SURFACE = 100  # with positives, for a surface to have a blend of its own requests
RECALL_AT = (20, 100, 500)
BASELINES = (
    "popularity",
    "lexical",
    "similar",
)  # sources that recall is also measured of alone: what is popular, words
RECALL = "recall.json"
FEWEST = 20  # requests of a period with an event, for retrieval to be judged on that event


@dataclass(frozen=True)
class RetrievalSample:
    """Requests (positions among the labelled) with positives, and their query embeddings float32 [q, d]."""

    labelled: LabelledRequests
    requests: np.ndarray
    embeddings: np.ndarray

    def text(self, column: str) -> np.ndarray:
        """str [q]: a column of the requests."""
        values = self.labelled.slates[column].take(pa.array(self.requests))
        return values.cast(pa.string()).to_numpy(zero_copy_only=False)

    def queries(self, surface: str | None = None) -> Iterable[Query]:
        """As they were made, or as if made on `surface`."""
        queries = (self.labelled.query(r, e) for r, e in zip(self.requests.tolist(), self.embeddings, strict=True))
        return queries if surface is None else (made_on(surface, query) for query in queries)

    def positives(self) -> list[np.ndarray]:
        return [self.labelled.positives(request) for request in self.requests.tolist()]


@dataclass(frozen=True)
class RetrievalRequests:
    """All labelled requests with their query embeddings float32 [R, d]; `most` of a surface fit its blend."""

    labelled: LabelledRequests
    embeddings: np.ndarray
    most: int

    def sample(self, period: np.ndarray, *, most: int) -> RetrievalSample:
        """Of those in the period (bool [R]) that have a positive, evenly spread over time, at most `most`."""
        some = self.labelled.with_positive(period)
        chosen = some[np.linspace(0, len(some) - 1, min(most, len(some))).astype(int)]
        return RetrievalSample(self.labelled, chosen, self.embeddings[chosen])

    def of_surface(self, surface: str, period: np.ndarray) -> RetrievalSample:
        """Of the surface's in the period; of every surface's where it has too few."""
        among = pc.equal(self.labelled.slates["surface"].cast(pa.string()), surface).to_numpy()
        sample = self.sample(period & among, most=self.most)
        return sample if len(sample.requests) >= FEWEST_OF_SURFACE else self.sample(period, most=self.most)


def made_on(surface: str, query: Query) -> Query:
    """The query as if made on `surface`; a product page is then that of the item touched last, where there is one."""
    if query.surface == surface:
        return query
    if surface == "product_page" and len(query.history):
        return query.on_page_of(int(query.history[-1]))
    return replace(query, surface=surface)


def train_retrieval(run: RunFolder) -> None:
    """Write retrieval/: encoder, towers, index, blends, and recall of held-out orders; a catalogue alone has no towers.

    Where the later periods have too few orders, recall is of the strongest event that they have.
    """
    dataset, config, folder = kept(run.path), run.config, run.part("retrieval")
    (folder / CANDIDATES).unlink(missing_ok=True)
    labelled = labelled_requests(dataset, spec_of(dataset, config), segment=dataset.segment)
    if len(labelled.slates) == 0:
        (folder / "encoder.json").write_text(
            Encoder.fit(labelled.frame, min_count=config.retrieval.rare_below).to_json()
        )
        print("   nothing was recorded: no towers, candidates are new arrivals and a sample of the catalogue")
        return
    period = periods(labelled.slates, **asdict(config.periods))
    labelled = replace(labelled, goal=goal_of(labelled, period))
    rng = np.random.default_rng(config.seed)
    encoder = Encoder.fit(labelled.frame, requests=period.train, min_count=config.retrieval.rare_below)
    (folder / "encoder.json").write_text(encoder.to_json())
    items = item_inputs(labelled.catalogue, encoder)
    positives = pairs(encoder.encode(labelled.frame), item=labelled.item, weight=labelled.weight)
    towers = _fit_towers(run, encoder, positives, items, period, rng)
    queries = towers.embed_queries(positives.user_codes, positives.user_lists, positives.user_numbers)
    sample_queries = queries[labelled.with_positive(period.validation)]
    index = build_index(
        config.retrieval.index, towers.embed_items(items), queries=sample_queries, config=config.retrieval
    )
    save_index(index, folder / "index", item_ids=dataset.items["item_id"].to_pylist())
    print(f"   {index.report.kind} index: recall@{index.report.k} of exact search {index.report.recall:.3f}")
    sources_then = partial(
        RunSources,
        dataset,
        segment=dataset.segment,
        index=index,
        catalogue=labelled.catalogue,
        config=config.sources,
    )
    sources = sources_then()
    recipes = recipes_of(run, sources.names)
    early = sources_then().advance(period.validation_from)
    requests = RetrievalRequests(labelled, queries, config.retrieval.blend_requests)
    blends = _fit_blends(early.retriever(recipes, blends={}), requests, period.validation)
    save_blends(blends, folder / BLENDS)
    retriever = sources.advance(period.test_from).retriever(recipes, blends=blends)
    test = requests.sample(period.test, most=config.retrieval.test_requests)
    recall = held_out_recall(retriever, test)
    for source in sources.sources:
        if source.name in BASELINES:
            alone = held_out_recall(Retriever([source], {source.name: Quota(max(RECALL_AT))}), test)
            recall |= {f"{source.name} alone {name}": share for name, share in alone.items() if share.high > 0}
    (folder / RECALL).write_text(json.dumps({name: asdict(share) for name, share in recall.items()}, indent=1))
    for line in recall_lines(recall, goal=labelled.goal):
        print("   " + line)


def _fit_towers(
    run: RunFolder, encoder: Encoder, positives: Pairs, items: ItemInputs, period: Periods, rng: np.random.Generator
) -> TwoTower:
    config = run.config.retrieval
    towers = TwoTower(encoder.spec, encoder.sizes, config=config, rng=rng)
    train = np.flatnonzero(period.train[positives.request])[-config.pairs :]
    held_out = positives.select(period.validation[positives.request])
    checkpoint = run.part("retrieval") / "checkpoint"
    history = fit(towers, positives.select(train), held_out, items, rng=rng, checkpoint=checkpoint)
    keep_losses(run.part("retrieval"), history, towers=config)
    towers.save_towers(run.part("retrieval"))
    shutil.rmtree(checkpoint)  # it resumes an interrupted fit; one that is asked for again starts anew
    return towers


def goal_of(labelled: LabelledRequests, period: Periods) -> str:
    """The strongest event that the validation and the test period have FEWEST requests with; or else that both have.

    Raises ValueError where they have none.
    """
    by_strength = sorted(EVENT_WEIGHTS, key=lambda event: -EVENT_WEIGHTS[event])
    for fewest in (FEWEST, 1):
        for event in by_strength:
            judged = replace(labelled, goal=event)
            if min(len(judged.with_positive(part)) for part in (period.validation, period.test)) >= fewest:
                return event
    raise ValueError(
        f"Of {len(labelled.slates):,} requests the last {period.test.sum():,} (test) or the "
        f"{period.validation.sum():,} before them (validation) have no event about a known item. Export a "
        "longer time, or check that events name the catalogue's item ids."
    )


def _fit_blends(retriever: SurfaceRetriever, requests: RetrievalRequests, period: np.ndarray) -> Blends:
    """A blend a surface, fitted on its requests of the period (bool [R]); `retriever` knows what came before it.

    A surface with too few takes every request as if it were made there, on a product page from the item touched last.
    None for a surface where no positive was proposed. What asks the same sources on the same requests is fitted once.
    """
    fitted: dict[tuple[str, bool, bytes], dict[str, float]] = {}
    blends: dict[str, dict[str, float]] = {}
    for surface, recipe in retriever.recipes.items():
        if recipe.fusion == "ranks":
            continue
        sample = requests.of_surface(surface, period)
        key = repr((recipe.sources, recipe.relevant)), surface == "product_page", sample.requests.tobytes()
        if key not in fitted:
            fitted[key] = _fit_blend(retriever[surface], sample, surface=surface)
        if fitted[key]:
            blends[surface] = fitted[key]
    return blends


def _fit_blend(retriever: Retriever, sample: RetrievalSample, *, surface: str) -> dict[str, float]:
    """Weight by source; none where no positive was proposed."""
    positives = sample.positives()
    pools = [retriever.pool(query, k=max(RECALL_AT)) for query in sample.queries(surface)]
    if not any(np.isin(pool.items, items).any() for pool, items in zip(pools, positives, strict=True)):
        return {}
    return dict(zip(retriever.scoring, fit_blend(pools, positives).weights, strict=True))


def held_out_recall(
    retriever: SurfaceRetriever | Retriever, sample: RetrievalSample, *, seed: int = 0
) -> dict[str, Estimate]:
    """recall@k = hits / min(k, number of positives), mean over the requests: of all, and "SURFACE recall@k"."""
    hits = np.zeros((len(sample.requests), len(RECALL_AT)))
    for place, (query, positives) in enumerate(zip(sample.queries(), sample.positives(), strict=True)):
        items = retriever.retrieve(query, k=max(RECALL_AT)).items
        for column, k in enumerate(RECALL_AT):
            hits[place, column] = np.isin(positives, items[:k]).sum() / min(k, len(positives))
    samples = bootstrap.resample(len(hits), np.random.default_rng(seed), shopper=sample.text("user_id"))
    surface = sample.text("surface")
    parts = {name: np.where((surface == name)[:, None], hits, np.nan) for name in np.unique(surface).tolist()}
    columns = {"": hits} | {f"{name} ": part for name, part in parts.items() if len(parts) > 1}
    means = bootstrap.means(np.concatenate(list(columns.values()), axis=1), samples)
    names = [f"{prefix}recall@{k}" for prefix in columns for k in RECALL_AT]
    return {name: mean.estimate() for name, mean in zip(names, means, strict=True)}


def kept_recall(folder: Path) -> dict[str, Estimate]:
    """What `train_retrieval` wrote in retrieval/, nothing where nothing was recorded."""
    path = folder / RECALL
    return {name: Estimate(**share) for name, share in json.loads(path.read_text()).items()} if path.exists() else {}


def recall_lines(recall: Mapping[str, Estimate], *, goal: str) -> Iterator[str]:
    """One line of all requests, and one a surface."""
    surfaces = dict.fromkeys(name.rpartition(" ")[0] for name in recall)
    for surface in surfaces:
        parts = {name.rpartition(" ")[2]: share for name, share in recall.items() if name.rpartition(" ")[0] == surface}
        where = f", {surface}" if surface else ", merged sources"
        yield f"held-out {goal}s{where}: " + ", ".join(f"{name} {share}" for name, share in parts.items())
