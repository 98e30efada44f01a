"""Labelled requests: what shoppers touched, request by request, which retrieval learns from and is judged on.

Where lists were recorded, a request is a slate and its positives are the items clicked and ordered. In data without
lists a request is a basket (a visit's orders), made at its first order, and its positives are what it bought; or it is
the moment at which a shopper turned to an item, which is its one positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.backfill import Backfill, backfill
from features.catalogue import Catalogue
from features.interactions import EVENT_WEIGHTS, KINDS
from features.served import served, together
from features.spec import FeatureFrame, FeatureSpec
from marketplace.attribution import attribute
from marketplace.baskets import baskets, touches
from marketplace.dataset import Dataset
from marketplace.slate_columns import context, flat, item_offsets
from marketplace.splits import microseconds
from retrieval.candidates import Query

MOST_TOUCHES = 200_000  # of each kind of event: the newest moments that retrieval learns from


@dataclass(frozen=True)
class LabelledRequests:
    """R requests over N rows: `item` int32 [N] catalogue rows (-1 = unknown), `weight` float64 [N] in orders (0 = no
    positive), `segment` str [R] the shopper's group. `goal`: the event that retrieval is judged on."""

    slates: pa.Table
    frame: FeatureFrame
    catalogue: Catalogue
    item: np.ndarray
    weight: np.ndarray
    segment: np.ndarray
    goal: str = "order"

    @cached_property
    def positive(self) -> np.ndarray:
        """bool [N]: rows of known items whose event is the goal, or a stronger one."""
        return (self.weight >= EVENT_WEIGHTS[self.goal]) & (self.item >= 0)

    def positives(self, request: int, *, among: np.ndarray | None = None) -> np.ndarray:
        """int32: catalogue rows of one request's positives; `among` bool [N]: the rows that count, None = all."""
        rows = slice(*self.frame.offsets[request : request + 2])
        counted = self.positive[rows] if among is None else self.positive[rows] & among[rows]
        return self.item[rows][counted]

    def with_positive(self, requests: np.ndarray) -> np.ndarray:
        """int64: the requests (positions) among `requests` (bool [R]) that have a positive."""
        some = np.zeros(len(requests), bool)
        some[self.frame.request[self.positive]] = True
        return np.flatnonzero(some & requests)

    def query(self, request: int, embedding: np.ndarray | None) -> Query:
        """The request as the service would ask the retriever; a store page allows its merchant's items alone."""
        history = self.catalogue.rows(self.frame.columns["history_items"][request].values)
        page = self.slates["page_merchant_id"][request].as_py()
        code = None if page is None else pc.index(self.catalogue.merchant_names, page).as_py()
        query = Query(
            user_id=self.slates["user_id"][request].as_py(),
            segment=str(self.segment[request]),
            history=history[history >= 0],
            embedding=embedding,
            allowed=None if code is None else self.catalogue.merchant == code,
            time=int(microseconds(self.slates["time"].slice(request, 1))[0]),
            surface=self.slates["surface"][request].as_py(),
            text=self.slates["query"][request].as_py(),
        )
        item = self.slates["page_item_id"][request].as_py()
        row = -1 if item is None else self.catalogue.row.get(item, -1)
        return query if row < 0 else query.on_page_of(row)


def labelled_requests(
    dataset: Dataset, spec: FeatureSpec, *, segment: str, backfilled: Backfill = backfill
) -> LabelledRequests:
    """Every request of a data set with its positives, and its features as served or else as of its time."""
    if dataset.has_impressions:
        joined = attribute(dataset.slates, dataset.feedback)
        slates = joined.slates
        of_kind = [joined.labels[event].to_numpy().astype(np.float64) * EVENT_WEIGHTS[event] for event in KINDS]
        weight = np.maximum.reduce(of_kind)
    else:
        slates, weight = _moments(dataset)
    catalogue = Catalogue.of(dataset)
    item = catalogue.rows(flat(slates, "item_id"))
    frame = features_of(dataset, slates, spec, backfilled=backfilled)
    return LabelledRequests(slates, frame, catalogue, item, weight, segment_of_requests(dataset, slates, segment))


def _moments(dataset: Dataset) -> tuple[pa.Table, np.ndarray]:
    """Baskets, and moments of each kind, of data without lists: SLATE rows by time, and the weight float64 [N]."""
    bought = baskets(dataset)
    turned = [(event, touches(dataset, (event,), most=MOST_TOUCHES)) for event in KINDS if event != "order"]
    slates = pa.concat_tables([bought, *(table for _, table in turned)]).combine_chunks()
    of_request = np.concatenate(
        [np.ones(len(bought)), *(np.full(len(table), EVENT_WEIGHTS[event]) for event, table in turned)]
    )
    order = np.argsort(microseconds(slates["time"]), kind="stable")
    slates = slates.take(pa.array(order))
    return slates, np.repeat(of_request[order], np.diff(item_offsets(slates)))


def features_of(
    dataset: Dataset, slates: pa.Table, spec: FeatureSpec, *, backfilled: Backfill = backfill
) -> FeatureFrame:
    """Features as they were logged where a slate was served with `spec`; else as of the slate's time."""
    logged = pc.equal(slates["feature_spec_version"].cast(pa.string()), spec.version).to_numpy()
    if logged.all():
        return served(slates, spec)
    if not logged.any():
        return backfilled(dataset, slates, spec=spec)
    before = backfilled(dataset, slates.filter(pa.array(~logged)), spec=spec)
    frames = (before, served(slates.filter(pa.array(logged)), spec))
    return together(frames, [np.flatnonzero(~logged), np.flatnonzero(logged)])


def segment_of_requests(dataset: Dataset, slates: pa.Table, name: str) -> np.ndarray:
    """str [R]: the group of each request's shopper: user_segment, user_country, or an entry of the context."""
    if name.startswith("user_"):
        return _text(dataset.of_users(slates["user_id"], name.removeprefix("user_")))
    return _text(context(slates, name))


def segment_of_feedback(dataset: Dataset, name: str) -> pa.Array:
    """[rows of feedback]: the same group for each event; the item's category stands in for an entry of the context."""
    if name.startswith("user_"):
        return pa.array(_text(dataset.of_users(dataset.feedback["user_id"], name.removeprefix("user_"))))
    return pa.array(_text(dataset.of_items(dataset.feedback["item_id"], "category")))


def _text(values: pa.Array) -> np.ndarray:
    return values.cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False)
