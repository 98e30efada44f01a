"""New items and new shoppers: what do a run's towers find that towers of ids alone cannot?

A run of the simulated market (made anew, or that of a folder): the towers that it serves, beside towers that learned
from the same pairs with the same settings and see user_id, history_items and item_id alone. Recall@100 of the towers by
themselves (no other source) in the test period, of what was clicked or ordered: of items that began in the last week
before it or later, of shoppers that training did not know, of all. What can be hoped for stands beside it: the same
recall of the market's truth, with every taste, intent and quality known. Last, the run's merged sources, of orders of
items and shoppers that no training request had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa

from benchmarks.demo_run import demo_run
from benchmarks.record import Measure, record
from evaluation.estimate import Estimate
from features.encoder import Encoder
from features.spec import FeatureFrame, FeatureSpec
from jobs.cohorts import newcomers
from jobs.data import kept, market
from jobs.defaults import spec_of
from jobs.held_out_recall import RetrievalRequests, held_out_recall, kept_recall, mean_recall
from jobs.run_folder import RunFolder
from jobs.train_retrieval import items_then, rarity
from marketplace.dataset import Dataset
from marketplace.first_seen import begun
from marketplace.keys import rows_of
from marketplace.simulator import Simulation
from marketplace.splits import DAY_US, Periods, periods
from retrieval.build import build_index
from retrieval.labelled_requests import LabelledRequests, labelled_requests
from retrieval.pairs import item_inputs, pairs
from retrieval.retriever import Quota, Retriever
from retrieval.sources.two_tower_source import TwoTowerSource
from retrieval.tower_training import fit
from retrieval.training_pairs import training_pairs
from retrieval.two_tower import TwoTower

NAME = "cold_start"
IDS = ("user_id", "history_items", "item_id")
MOST = 4000  # requests
DRAWS = 100  # of the old retrieval's proposals
WEEK = 7 * DAY_US
COHORTS = ("new items", "new shoppers")
RECALL, BAR = "recall@100", ">= 3"


def main() -> None:
    with demo_run() as run:
        record(NAME, list(measured(run)), data=f"simulated market ({run.config.size})", seed=run.config.seed)


def measured(run: RunFolder) -> Iterator[Measure]:
    dataset = kept(run.path)
    labelled = labelled_requests(dataset, spec_of(dataset, run.config), segment=dataset.segment)
    labelled = replace(labelled, goal="click")
    period = periods(labelled.slates, **asdict(run.config.periods))
    begins = begun(dataset.items)
    new_item = (labelled.item >= 0) & (begins[labelled.item] >= period.test_from - WEEK)
    cohorts = {"new items": new_item, "new shoppers": newcomers(labelled.slates, period.train)["new shoppers"]}
    encoder = Encoder.from_json((run.path / "retrieval" / "encoder.json").read_text())
    served = recall(TwoTower.load_towers(run.path / "retrieval"), encoder, labelled, period, cohorts)
    alone = recall(*towers_of_ids(run, dataset, labelled, period), cohorts)
    truth = recall_of_truth(run, labelled, period, cohorts)
    for cohort in (*COHORTS, "all"):
        key = RECALL if cohort == "all" else f"{cohort} {RECALL}"
        for name, shares in (("the run's towers", served), ("ids alone", alone), ("the market's truth", truth)):
            yield of(f"{cohort}: {RECALL}, {name}", shares[key])
        ratio = served[key].value / max(alone[key].value, 1 / alone[key].n)  # one shopper's at least
        yield Measure(f"{cohort}: the run's towers / ids alone", ratio, "times", BAR if cohort in COHORTS else None)
    for cohort in COHORTS:
        yield of(
            f"{cohort}: {RECALL} of orders, merged sources", kept_recall(run.path / "retrieval")[f"{cohort} {RECALL}"]
        )


def of(name: str, share: Estimate) -> Measure:
    return Measure(f"{name} ({share.n} shoppers)", share.value, "share", None, (share.low, share.high))


def towers_of_ids(
    run: RunFolder, dataset: Dataset, labelled: LabelledRequests, period: Periods
) -> tuple[TwoTower, Encoder, LabelledRequests, Periods]:
    """Towers of IDS, trained as the run's were, with what `recall` needs of them."""
    config, rng, frame = run.config.retrieval, np.random.default_rng(run.config.seed), labelled.frame
    spec = FeatureSpec(tuple(feature for feature in frame.spec.features if feature.name in IDS))
    labelled = replace(labelled, frame=FeatureFrame(spec, frame.offsets, frame.columns))
    encoder = Encoder.fit(labelled.frame, requests=period.train, **rarity(config))
    inputs, items = encoder.encode(labelled.frame), items_then(dataset, labelled, encoder, period)
    towers = TwoTower(spec, encoder.sizes, config=config, rng=rng)
    train = training_pairs(labelled, inputs, period.train, config=config, rng=rng)
    held_out = pairs(inputs, item=labelled.item, weight=labelled.weight)
    fit(towers, train, held_out.select(period.validation[held_out.request]), items, rng=rng)
    return towers, encoder, labelled, period


def recall(
    towers: TwoTower, encoder: Encoder, labelled: LabelledRequests, period: Periods, cohorts: dict[str, np.ndarray]
) -> dict[str, Estimate]:
    """Held-out recall of the towers alone."""
    inputs, items = encoder.encode(labelled.frame), item_inputs(labelled.catalogue, encoder)
    queries = towers.embed_queries(inputs.user_codes, inputs.user_lists, inputs.user_numbers)
    source = TwoTowerSource(build_index("exact", towers.embed_items(items), queries=queries[:64]))
    test = RetrievalRequests(labelled, queries, MOST).sample(period.test, most=MOST)
    return held_out_recall(Retriever([source], {source.name: Quota(500)}), test, cohorts=cohorts)


def recall_of_truth(
    run: RunFolder, labelled: LabelledRequests, period: Periods, cohorts: dict[str, np.ndarray]
) -> dict[str, Estimate]:
    """Held-out recall of the 100 items that by the market's truth are likeliest to be shown and clicked."""
    test = RetrievalRequests(labelled, np.empty((len(labelled.slates), 0)), MOST).sample(period.test, most=MOST)
    likeliest = by_truth(market(run.config.size, seed=run.config.seed), test.slates["request_id"])
    hits = {}
    for cohort, rows in {"": None, **cohorts}.items():
        wanted = [labelled.positives(request, among=rows) for request in test.requests.tolist()]
        shares = [
            np.isin(items, best).sum() / min(100, len(items)) if len(items) else np.nan
            for items, best in zip(wanted, likeliest, strict=True)
        ]
        hits[f"{cohort} {RECALL}".strip()] = np.array(shares)
    return mean_recall(hits, test)


def by_truth(simulation: Simulation, request_ids: pa.ChunkedArray) -> np.ndarray:
    """int32 [R, 100]: the greatest P(proposed by the old retrieval) x P(click | examined); DRAWS proposals tell it."""
    batch = simulation.requests.take(rows_of(request_ids, simulation.dataset.slates["request_id"]))
    rng = np.random.default_rng(0)
    drawn = np.hstack([simulation.draw_candidates(batch, rng) for _ in range(DRAWS)])
    proposed = [np.unique(row[row >= 0], return_counts=True) for row in drawn]
    items, times = (np.full((len(proposed), max(len(row) for row, _ in proposed)), -1) for _ in range(2))
    for place, (row, counts) in enumerate(proposed):
        items[place, : len(row)], times[place, : len(row)] = row, counts
    wish = times * simulation.click_probability(batch, items.astype(np.int32))
    return np.take_along_axis(items, np.argsort(-wish, axis=1, kind="stable")[:, :100], axis=1)


if __name__ == "__main__":
    main()
