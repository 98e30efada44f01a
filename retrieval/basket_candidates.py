"""Candidates as of each shopping basket, for data in which no list was recorded.

For every sampled basket the retriever says what it would have proposed then: the counting sources know what came
before the four weeks that the basket falls into, histories and features what came before the basket. The label is
whether the shopper then ordered the candidate; orders of items that were not proposed stay unseen: retrieval's recall
says how many.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm

from marketplace.attribution import Attribution, attribute
from marketplace.baskets import slates_of
from marketplace.dataset import Dataset
from marketplace.schema import SLATE
from marketplace.slate_columns import item_offsets
from marketplace.splits import DAY_US, Periods, microseconds
from marketplace.visits import in_visits
from retrieval.blend import Blends
from retrieval.build import BuiltIndex
from retrieval.config import SOURCE_DEFAULTS, SourcesConfig
from retrieval.labelled_requests import LabelledRequests
from retrieval.sources.run_sources import RunSources
from retrieval.surfaces import SurfaceRecipes

BLOCK = 28 * DAY_US  # how long the counting sources go without an update
CANDIDATES = 100  # of a basket
TRAIN, VALIDATION, TEST = 2500, 600, 1000  # sampled baskets of each period
NEWEST = 3  # training baskets are sampled from this many times as many newest ones


def sample(requests: LabelledRequests, period: Periods) -> np.ndarray:
    """Sampled baskets (increasing positions): evenly spread over each period, in training over the newest."""
    chosen = []
    for part, most in ((period.train, TRAIN), (period.validation, VALIDATION), (period.test, TEST)):
        baskets = requests.with_positive(part)
        baskets = baskets[-NEWEST * most :] if part is period.train else baskets
        chosen.append(baskets[np.linspace(0, len(baskets) - 1, min(most, len(baskets))).astype(int)])
    return np.unique(np.concatenate(chosen))


def basket_candidates(
    dataset: Dataset,
    requests: LabelledRequests,
    baskets: np.ndarray,
    embeddings: np.ndarray,
    *,
    segment: str,
    index: BuiltIndex,
    config: SourcesConfig = SOURCE_DEFAULTS,
    recipes: SurfaceRecipes,
    blends: Blends,
) -> pa.Table:
    """SLATE rows of baskets (positions in `requests`), their candidates at position 0; embeddings float32 [t, d]."""
    time = microseconds(requests.slates["time"])[baskets]
    block = time // BLOCK
    sources = RunSources(dataset, segment=segment, index=index, catalogue=requests.catalogue, config=config)
    retriever = sources.retriever(recipes, blends=blends)
    rows, scores, names, sizes = [], [], [], []
    for place, basket in enumerate(tqdm(baskets.tolist(), desc="candidates as of each basket", unit="basket")):
        if place == 0 or block[place] != block[place - 1]:
            sources.advance(int(block[place] * BLOCK))
        proposed = retriever.retrieve(requests.query(basket, embeddings[place]), k=CANDIDATES)
        rows.append(proposed.items)
        scores.append(proposed.score)
        names.append(np.array(proposed.sources, object)[proposed.source])
        sizes.append(len(proposed.items))
    return _slates(
        dataset, requests, baskets, np.concatenate(rows), np.concatenate(scores), np.concatenate(names), sizes
    )


def _slates(
    dataset: Dataset,
    requests: LabelledRequests,
    baskets: np.ndarray,
    rows: np.ndarray,
    scores: np.ndarray,
    names: np.ndarray,
    sizes: list[int],
) -> pa.Table:
    taken = requests.slates.take(pa.array(baskets))
    request = {name: taken[name].combine_chunks() for name in taken.column_names if not _over_items(taken, name)}
    of_items = {name: dataset.items[name].combine_chunks().take(pa.array(rows)) for name in ("item_id", "merchant_id")}
    zeros = np.zeros(len(rows))
    item = of_items | {
        "price": dataset.items["price"].combine_chunks().take(pa.array(rows)),
        "source": pa.array(names.tolist(), pa.string()),
        "retrieval_score": pa.array(scores),
        "merchant_value": pa.array(zeros),
        "value": pa.array(zeros),
        "position": pa.array(zeros.astype(np.int32)),
        "propensity": pa.array(np.full(len(rows), np.nan)),
    }
    return slates_of(request, item, np.append(0, np.cumsum(sizes)))


def _over_items(table: pa.Table, name: str) -> bool:
    kind = table.schema.field(name).type
    return pa.types.is_list(kind) or pa.types.is_map(kind)


def labelled(candidates: pa.Table, feedback: pa.Table) -> Attribution:
    """The candidates with the orders of their baskets: a basket is the request that its orders answer.

    Attribution reads what was shown, so it is told that every candidate was; the slates keep position 0.
    """
    place = feedback.column_names.index("request_id")
    of_baskets = in_visits(feedback)["session_id"].cast(pa.string())
    answered = feedback.set_column(place, feedback.schema.field("request_id"), of_baskets)
    joined = attribute(_with_position(candidates, 1), answered)
    return replace(joined, slates=_with_position(joined.slates, 0))


def _with_position(slates: pa.Table, position: int) -> pa.Table:
    field = SLATE.field("position")
    offsets = item_offsets(slates)
    values = pa.array(np.full(offsets[-1], position, np.int32))
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
    return slates.set_column(slates.column_names.index("position"), field, lists.cast(field.type))
