"""New items and new shoppers: what do towers of content find that towers of ids alone cannot?

The simulated market, as a run splits it. Recall@100 of the towers alone (no other source) in the test period: of
positives that began in the last week before it or later, of positives of shoppers that training did not know, of all.
Both towers learn from the same pairs with the same settings; those of ids see user_id, history_items and item_id.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.record import Measure, record
from features.encoder import Encoder
from features.spec import FeatureSpec
from jobs.config import RunConfig
from jobs.data import get
from jobs.defaults import spec_of
from jobs.held_out_recall import RetrievalRequests, held_out_recall
from marketplace.dataset import Dataset
from marketplace.splits import DAY_US, Periods, microseconds, periods
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
WEEK = 7 * DAY_US


def main() -> None:
    config = RunConfig()
    dataset = get(config)
    spec = spec_of(dataset, config)
    ids = FeatureSpec(tuple(feature for feature in spec.features if feature.name in IDS))
    both = {name: recall(dataset, one, config) for name, one in (("content", spec), ("ids alone", ids))}
    measures = []
    for cohort in ("new items", "new shoppers", "all"):
        key = "recall@100" if cohort == "all" else f"{cohort} recall@100"
        for name, shares in both.items():
            share = shares[key]
            measures.append(
                Measure(f"{cohort}: recall@100, towers of {name}", share.value, "share", None, (share.low, share.high))
            )
        least = max(both["ids alone"][key].value, 1e-4)
        bar = ">= 3" if cohort == "new items" else None
        measures.append(Measure(f"{cohort}: content / ids alone", both["content"][key].value / least, "times", bar))
    record(NAME, measures, data=f"simulated market ({config.size})", seed=config.seed)


def recall(dataset: Dataset, spec: FeatureSpec, config: RunConfig):  # type: ignore[no-untyped-def]
    """Held-out recall of towers over the features of `spec`, with cohorts."""
    settings, rng = config.retrieval, np.random.default_rng(config.seed)
    labelled = labelled_requests(dataset, spec, segment=dataset.segment)
    period = periods(labelled.slates, **asdict(config.periods))
    encoder = Encoder.fit(labelled.frame, requests=period.train, min_count=3)
    inputs, items = encoder.encode(labelled.frame), item_inputs(labelled.catalogue, encoder)
    towers = TwoTower(encoder.spec, encoder.sizes, config=settings, rng=rng)
    held_out = pairs(inputs, item=labelled.item, weight=labelled.weight)
    train = training_pairs(labelled, inputs, period.train, config=settings, rng=rng)
    fit(towers, train, held_out.select(period.validation[held_out.request]), items, rng=rng)
    queries = towers.embed_queries(inputs.user_codes, inputs.user_lists, inputs.user_numbers)
    source = TwoTowerSource(build_index("exact", towers.embed_items(items), queries=queries[:64]))
    test = RetrievalRequests(labelled, queries, MOST).sample(period.test, most=MOST)
    return held_out_recall(Retriever([source], {source.name: Quota(500)}), test, cohorts=new(dataset, labelled, period))


def new(dataset: Dataset, labelled: LabelledRequests, period: Periods) -> dict[str, np.ndarray]:
    """bool [N] a cohort: rows of items that began in the week before the test period or in it, and of new shoppers."""
    begins = microseconds(dataset.items["available_from"])
    shopper = labelled.slates["user_id"].cast(pa.string())
    known = pc.is_in(shopper, pc.unique(shopper.filter(pa.array(period.train)))).to_numpy()
    new_item = (labelled.item >= 0) & (begins[labelled.item] >= period.test_from - WEEK)
    return {"new items": new_item, "new shoppers": ~known[labelled.frame.request]}


if __name__ == "__main__":
    main()
