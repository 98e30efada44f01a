"""Backfill in ClickHouse: statistics are computed by their point-in-time SQL where the log lies, formulas here.

The numbers are those of `features.backfill` over the same events. What no SQL computes is computed from the data set's
own events, as ever.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from features.backfill import known_before, of_events
from features.catalogue import Catalogue
from features.spec import HISTORY, FeatureFrame, FeatureSpec
from features.statistics.point_in_time import Of, StatisticQuery
from features.statistics.statistic import Columns, RequestRows, Statistic
from marketplace import slate_columns
from marketplace.clickhouse.connection import ClickhouseClient
from marketplace.clickhouse.tables import kind_of
from marketplace.dataset import Dataset
from marketplace.keys import rows_of
from marketplace.schema import ITEMS, SLATE, TIME, USERS

REQUESTS = ("request_id", "time", "user_id", "session_id", "page_item_id", "item_id")
TABLES = {  # that queries read beside the log's
    "requests": pa.schema([SLATE.field(name) for name in REQUESTS]),
    "items": pa.schema([*(ITEMS.field(name) for name in ("item_id", "category", "merchant_id")), ("known", TIME)]),
    "users": pa.schema([USERS.field(name) for name in ("user_id", "segment")]),
}


@dataclass(frozen=True)
class ClickhouseBackfill:
    """A `Backfill` of requests from the events of the log that `connection` has open; items and users are the data
    set's."""

    connection: ClickhouseClient

    def __call__(self, dataset: Dataset, slates: pa.Table, *, spec: FeatureSpec) -> FeatureFrame:
        self.put_dataset(dataset, slates)

        def columns(catalogue: Catalogue, requests: RequestRows, statistics: tuple[type[Statistic], ...]) -> Columns:
            columns: Columns = {}
            for statistic in statistics:
                columns |= self.columns(statistic, catalogue, slates, requests)
            others = tuple(statistic for statistic in statistics if not statistic.point_in_time())
            return columns | (of_events(dataset)(catalogue, requests, others) if others else {})

        return known_before(dataset, slates, spec=spec, columns_of=columns).frame()

    def put_dataset(self, dataset: Dataset, slates: pa.Table) -> None:
        """The tables of requests, SLATE rows, by shoppers and over items of the data set, known from the beginning."""
        items = dataset.items.append_column("known", pa.nulls(len(dataset.items), TIME))
        self.put_tables(slates, items=items, users=dataset.users)

    def put_tables(self, slates: pa.Table, *, items: pa.Table, users: pa.Table) -> None:
        """TABLES, until others are put or the connection is closed; `items` has a row a version, `known` since."""
        for (name, schema), rows in zip(TABLES.items(), (slates, items, users), strict=True):
            columns = ", ".join(f"{field.name} {kind_of(field.type, nullable=field.nullable)}" for field in schema)
            self.connection.command(f"DROP TEMPORARY TABLE IF EXISTS {name}")
            self.connection.command(f"CREATE TEMPORARY TABLE {name} ({columns})")
            self.connection.insert(name, rows.select(schema.names).unify_dictionaries())

    def columns(
        self, statistic: type[Statistic], catalogue: Catalogue, slates: pa.Table, requests: RequestRows
    ) -> Columns:
        """A statistic's columns as of `slates`, that were put, which `requests` describes; none where it has no SQL."""
        columns: Columns = {}
        for query in statistic.point_in_time():
            answered = laid_out(query, self.connection.table(query.sql), catalogue, slates)
            columns |= query.derived(catalogue, requests, answered) if query.derived else answered
        return columns


def laid_out(query: StatisticQuery, answer: pa.Table, catalogue: Catalogue, slates: pa.Table) -> Columns:
    """A query's answer as the columns of `slates`: [R], of rows [N], of steps [R, HISTORY]."""
    offsets = slate_columns.item_offsets(slates)
    request = rows_of(answer["request_id"].cast(pa.string()), slates["request_id"].cast(pa.string()))
    shape: tuple[int, ...] = (len(slates),)
    at: tuple[np.ndarray, ...] = (request,)
    if query.of is not Of.REQUEST:
        place = answer["place"].to_numpy().astype(np.int64) - 1
        shape, at = ((int(offsets[-1]),), (offsets[request] + place,))
        if query.of is Of.STEP:
            shape, at = ((len(slates), HISTORY), (request, place))
    columns: Columns = {}
    for name, nothing in query.columns.items():
        values = answer[name]
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):  # items, by name
            values = pa.chunked_array([pa.array(catalogue.rows(values))])
        column = np.full(shape, nothing, np.float64 if isinstance(nothing, float) else np.int64)
        known = values.is_valid().to_numpy()
        column[tuple(part[known] for part in at)] = values.drop_null().to_numpy()
        columns[name] = column
    return columns
