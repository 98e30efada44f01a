"""Train what proposes candidates: the two towers, their index, the candidate sources, and each surface's blend of them.

Every part is judged on a later time than it learned from: the towers stop early on the validation period's positives,
the blends are fitted there on sources that know only what came before it, and the test period is seen by nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial

import numpy as np

from features.encoder import Encoder
from features.grown_tables import grown_tables
from features.interactions import EVENT_WEIGHTS
from features.spec import ModelInputs
from jobs.cohorts import newcomers
from jobs.data import kept
from jobs.defaults import spec_of
from jobs.earlier_run import earlier_run, encoder_of, grown_encoder, not_learned
from jobs.fit_curves import CURVES, FitCurves, Watch
from jobs.held_out_recall import (
    RECALL,
    RECALL_AT,
    RetrievalRequests,
    RetrievalSample,
    held_out_recall,
    mean_recall,
    recall_lines,
    request_recall,
)
from jobs.judged import HITS, keep_hits
from jobs.prepare import CANDIDATES
from jobs.provenance import keep_losses
from jobs.run_folder import CHECKPOINT, RunFolder
from jobs.run_surfaces import recipes_of
from jobs.spark_work import backfill_of, pairs_of
from marketplace.dataset import Dataset
from marketplace.first_seen import begun
from marketplace.log_place import is_log
from marketplace.splits import Periods, periods
from retrieval.blend import Blends, fit_blend, save_blends
from retrieval.build import build_index, save_index
from retrieval.config import RetrievalConfig
from retrieval.labelled_requests import LabelledRequests, labelled_requests
from retrieval.pairs import ItemInputs, item_inputs, pairs
from retrieval.retriever import Quota, Retriever
from retrieval.saved_sources import BLENDS
from retrieval.sources.run_sources import RunSources
from retrieval.surface_retriever import SurfaceRetriever
from retrieval.tower_training import fit
from retrieval.training_pairs import training_pairs
from retrieval.two_tower import TwoTower

BASELINES = (
    "popularity",
    "lexical",
    "similar",
)  # sources that recall is also measured of alone: what is popular, words
FEWEST = 20  # requests of a period with an event, for retrieval to be judged on that event


def train_retrieval(run: RunFolder, *, watch: Watch | None = None) -> None:
    """Write retrieval/: encoder, towers, index, blends, and recall of held-out orders; a catalogue alone has no towers.

    Where the later periods have too few orders, recall is of the strongest event that they have. `watch` sees the
    curves of the towers' fit.
    """
    dataset, config, folder = kept(run.path), run.config, run.part("retrieval")
    (folder / CANDIDATES).unlink(missing_ok=True)
    earlier = earlier_run(config)
    spec = encoder_of(earlier).spec if earlier and is_log(config.data) else spec_of(dataset, config)
    labelled = labelled_requests(dataset, spec, segment=dataset.segment, backfilled=backfill_of(run))
    if len(labelled.slates) == 0:
        (folder / "encoder.json").write_text(Encoder.fit(labelled.frame).to_json())
        print("   nothing was recorded: no towers, candidates are new arrivals and a sample of the catalogue")
        return
    period = periods(labelled.slates, **asdict(config.periods))
    labelled = replace(labelled, goal=goal_of(labelled, period))
    rng = np.random.default_rng(config.seed)
    encoder, earlier = encoder_then(run, labelled, period)
    (folder / "encoder.json").write_text(encoder.to_json())
    items = items_then(dataset, labelled, encoder, period)
    inputs = encoder.encode(labelled.frame)
    towers = _fit_towers(run, encoder, labelled, inputs, items, period, rng, watch=watch, earlier=earlier)
    queries = towers.embed_queries(inputs.user_codes, inputs.user_lists, inputs.user_numbers)
    sample_queries = queries[labelled.with_positive(period.validation)]
    index = build_index(
        config.retrieval.index, towers.embed_items(items), queries=sample_queries, config=config.retrieval
    )
    save_index(index, folder / "index", item_ids=dataset.items["item_id"].to_pylist())
    for line in index.report.lines():
        print("   " + line)
    sources_then = partial(
        RunSources,
        dataset,
        segment=dataset.segment,
        index=index,
        catalogue=labelled.catalogue,
        config=config.sources,
        pairs_of=pairs_of(run),
    )
    sources = sources_then()
    recipes = recipes_of(run, sources.names)
    early = sources_then().advance(period.validation_from)
    requests = RetrievalRequests(labelled, queries, config.retrieval.blend_requests)
    blends = _fit_blends(early.retriever(recipes, blends={}), requests, period.validation)
    save_blends(blends, folder / BLENDS)
    retriever = sources.advance(period.test_from).retriever(recipes, blends=blends)
    test = requests.sample(period.test, most=config.retrieval.test_requests)
    hits = request_recall(retriever, test, cohorts=newcomers(labelled.slates, period.train))
    keep_hits(folder / HITS, hits, test.slates)
    recall = mean_recall(hits, test)
    for source in sources.sources:
        if source.name in BASELINES:
            alone = held_out_recall(Retriever([source], {source.name: Quota(max(RECALL_AT))}), test)
            recall |= {f"{source.name} alone {name}": share for name, share in alone.items() if share.high > 0}
    (folder / RECALL).write_text(json.dumps({name: asdict(share) for name, share in recall.items()}, indent=1))
    for line in recall_lines(recall, goal=labelled.goal):
        print("   " + line)


def _fit_towers(
    run: RunFolder,
    encoder: Encoder,
    labelled: LabelledRequests,
    inputs: ModelInputs,
    items: ItemInputs,
    period: Periods,
    rng: np.random.Generator,
    *,
    watch: Watch | None,
    earlier: RunFolder | None,
) -> TwoTower:
    config = run.config.retrieval
    towers, learned = TwoTower(encoder.spec, encoder.sizes, config=config, rng=rng), period.train
    if earlier is not None:
        learned = not_learned(labelled.slates, period, earlier, fit="retrieval")
        before = TwoTower.load_towers(earlier.path / "retrieval").arrays()
        towers.assign(grown_tables(before, encoder_of(earlier), encoder))
    train = training_pairs(labelled, inputs, learned, config=config, rng=rng)
    held_out = pairs(inputs, item=labelled.item, weight=labelled.weight)
    held_out = held_out.select(period.validation[held_out.request])
    checkpoint = run.part("retrieval") / CHECKPOINT
    curves = FitCurves(run.path / CURVES / "retrieval", anew=not checkpoint.exists(), watch=watch)
    history = fit(
        towers,
        train,
        held_out,
        items,
        rng=rng,
        checkpoint=checkpoint,
        after_epoch=curves.write,
        anew=earlier is None,
    )
    keep_losses(run.part("retrieval"), history, until=period.validation_from, towers=config)
    towers.save_towers(run.part("retrieval"))
    return towers


def encoder_then(run: RunFolder, labelled: LabelledRequests, period: Periods) -> tuple[Encoder, RunFolder | None]:
    """The encoder of the training period's names, behind those of the earlier run where there is one; and that run."""
    encoder = Encoder.fit(labelled.frame, requests=period.train, **rarity(run.config.retrieval))
    earlier = earlier_run(run.config)
    return (encoder, None) if earlier is None else (grown_encoder(encoder, earlier), earlier)


def rarity(config: RetrievalConfig) -> dict[str, int]:
    """How often a name must be seen to have an embedding of its own, as `Encoder.fit` takes it."""
    return {"min_count": config.rare_below, "offer_min_count": config.rare_offers_below}


def items_then(dataset: Dataset, labelled: LabelledRequests, encoder: Encoder, period: Periods) -> ItemInputs:
    """The catalogue as the towers read it; negatives are of what had begun by the end of the training period."""
    return replace(item_inputs(labelled.catalogue, encoder), begun=begun(dataset.items) < period.validation_from)


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
