"""Backfill: the features of past requests as of their time, as the online store would have known them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import pyarrow as pa

from features.catalogue import Catalogue
from features.definitions import statistics_of
from features.item_columns import item_facts
from features.lexical_features import lexical_columns_of_requests, reads_words
from features.request_text import request_text
from features.segments import UserSegments
from features.sent import sent_numbers, sent_words
from features.snapshot import FeatureSnapshot
from features.spec import FeatureFrame, FeatureSpec
from features.state import FeatureState
from features.statistics.statistic import Columns, EventLog, RequestRows, Statistic
from marketplace import slate_columns
from marketplace.dataset import Dataset
from marketplace.splits import microseconds


class Backfill(Protocol):
    """Whatever computes what `backfill` computes."""

    def __call__(self, dataset: Dataset, slates: pa.Table, *, spec: FeatureSpec) -> FeatureFrame: ...


def backfill(dataset: Dataset, slates: pa.Table, *, spec: FeatureSpec) -> FeatureFrame:
    """The raw features of `slates` (rows of SLATE) from all that `dataset` recorded strictly before each of them."""
    return known_before(dataset, slates, spec=spec).frame()


StatisticColumns = Callable[[Catalogue, RequestRows, tuple[type[Statistic], ...]], Columns]


def of_events(dataset: Dataset) -> StatisticColumns:
    """The columns of statistics from the events that the data set recorded."""

    def columns(catalogue: Catalogue, requests: RequestRows, statistics: tuple[type[Statistic], ...]) -> Columns:
        segments = UserSegments(dataset.users)
        log = EventLog.of(catalogue, feedback=dataset.feedback, slates=dataset.slates, segments=segments)
        columns: Columns = {}
        for statistic in statistics:
            columns |= statistic(catalogue).as_of(log, requests)
        return columns

    return columns


def known_before(
    dataset: Dataset, slates: pa.Table, *, spec: FeatureSpec, columns_of: StatisticColumns | None = None
) -> FeatureSnapshot:
    """The same, before it is laid out in columns; `columns_of` None = `of_events` of the data set."""
    catalogue = Catalogue.of(dataset)
    requests = rows_of_requests(dataset, slates, catalogue)
    columns = (columns_of or of_events(dataset))(catalogue, requests, statistics_of(spec))
    if reads_words(spec):
        queries = slates["query"].to_pylist()
        columns |= lexical_columns_of_requests(catalogue.lexical_index, queries, requests.request, requests.item)
    state = FeatureState(
        offsets=slate_columns.item_offsets(slates),
        request=requests.request,
        time=requests.time,
        statistics=columns,
        sent=sent_numbers(slates, users=dataset.users, spec=spec),
        **item_facts(requests.item, slate_columns.flat(slates, "price").to_numpy(), catalogue),
    )
    words = sent_words(slates, users=dataset.users, spec=spec)
    text = request_text(slates, users=dataset.users, items=dataset.items, spec=spec)
    return FeatureSnapshot(spec, catalogue, state, text | words, candidate_words=words)


def rows_of_requests(dataset: Dataset, slates: pa.Table, catalogue: Catalogue) -> RequestRows:
    """The requests of SLATE rows, by shoppers of the data set."""
    segments, user_id = UserSegments(dataset.users), slates["user_id"].cast(pa.string()).combine_chunks()
    return RequestRows(
        time=microseconds(slates["time"]),
        user_id=user_id,
        session_id=slates["session_id"].cast(pa.string()).combine_chunks(),
        page_item=catalogue.rows(slates["page_item_id"].cast(pa.string())),
        segment=segments.of(user_id, np.arange(len(user_id))),
        request=slate_columns.request_of_rows(slates),
        item=catalogue.rows(slate_columns.flat(slates, "item_id")),
    )
