"""Point-in-time SQL against the offline backfill, over logs with late and repeated events; other engines' words."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from feature_frames import assert_same_features
from feature_market import DAY, START, random_market
from sqlglot import exp, parse_one

from features.backends.clickhouse_backfill import ClickhouseBackfill
from features.backfill import backfill, of_events, rows_of_requests
from features.catalogue import Catalogue
from features.definitions import standard_spec, with_extra
from features.spec import Group, count
from features.state import Definition, Part
from features.statistics import STATISTICS, counts
from features.statistics.counts import Count, interactions
from features.statistics.point_in_time import ENGINES
from marketplace.clickhouse.clickhouse_log import ClickhouseLog
from marketplace.clickhouse.dialects import DIALECTS, transpiled
from marketplace.schema import FEEDBACK, ITEMS, SLATE, USERS
from marketplace.slate_columns import request_of_rows
from marketplace.splits import microseconds

IN_SQL = pytest.mark.parametrize(
    "statistic", [one for one in STATISTICS if one.point_in_time()], ids=lambda statistic: statistic.name
)
TIME = pa.timestamp("us", tz="UTC")
QUERIES = [(one.name, query) for one in STATISTICS for query in one.point_in_time()]


def recorded(market, address, rng):
    """The market as a log tells it, events having arrived in any order and some of them twice, and its backfill."""
    log = ClickhouseLog(address)
    late = market.feedback.take(pa.array(rng.permutation(len(market.feedback))))
    for events in (late.slice(0, 150), late.slice(100), late.slice(7, 20)):
        log.append_feedback(events)
    log.append_slates(market.slates.take(pa.array(rng.permutation(len(market.slates)))))
    log.append_slates(market.slates.slice(3, 4))
    market = replace(market, slates=log.slates(), feedback=log.feedback())
    assert (len(market.slates), len(market.feedback)) == (40, 240)
    backfilled = ClickhouseBackfill(log.connection)
    backfilled.put_dataset(market, market.slates)
    return market, backfilled


@pytest.fixture(scope="module", params=range(2))
def logged(request, clickhouse_address):
    rng = np.random.default_rng(request.param)
    market = random_market(rng, requests=40, events=240)
    return recorded(market, f"{clickhouse_address}?database=recorded{request.param}", rng)


def of_one_version(items):
    items = items.select(["item_id", "category", "merchant_id"])
    return items.append_column("known", pa.nulls(len(items), TIME))


def offline(market, statistic):
    catalogue = Catalogue.of(market)
    return of_events(market)(catalogue, rows_of_requests(market, market.slates, catalogue), (statistic,))


def computed(backfilled, market, statistic):
    catalogue = Catalogue.of(market)
    requests = rows_of_requests(market, market.slates, catalogue)
    return backfilled.columns(statistic, catalogue, market.slates, requests)


def assert_same(ours, theirs, *, where=slice(None)):
    """Whole numbers equal, others to 1e-9."""
    for name, values in theirs.items():
        expected, given = values[where], ours[name][where]
        known = expected[np.isfinite(expected)]
        if (known == np.rint(known)).all():
            np.testing.assert_array_equal(given, expected, err_msg=name)
        else:
            np.testing.assert_allclose(given, expected, rtol=1e-9, err_msg=name)


@IN_SQL
def test_sql_gives_the_backfills_numbers(statistic, logged):
    market, backfilled = logged
    theirs = offline(market, statistic)
    ours = computed(backfilled, market, statistic)
    assert set(ours) == set(theirs)
    assert all(len(np.unique(values)) > 1 for values in theirs.values())
    assert_same(ours, theirs)


def test_a_count_by_another_code_is_the_same_in_sql(logged, monkeypatch):
    feature = count(Group.CROSS, "merchant_orders", "orders of the merchant's items so far")
    definition = Definition(feature, lambda state: state["merchant_orders"], Part.EXTRA)
    row = Count("merchant_orders", interactions("order", answers=False), (definition,), by="merchant_id")
    monkeypatch.setattr(counts, "COUNTS", (*counts.COUNTS, row))
    market, backfilled = logged
    ours = computed(backfilled, market, counts.Counts)
    assert ours["merchant_orders"].max() > ours["orders"].max()
    assert_same(ours, offline(market, counts.Counts))


@pytest.mark.parametrize("name", ["category_rates", "user_items", "shown_items"])
def test_a_fact_counts_from_when_it_was_known(name, logged):
    """Items change category and merchant: requests until then know nothing of it, later ones nothing else."""
    (statistic,) = (one for one in STATISTICS if one.name == name)
    market, backfilled = logged
    moment = START + 3 * DAY
    later, order = market.items, np.random.default_rng(0).permutation(len(market.items))
    for column in ("category", "merchant_id"):
        words = later[column].cast(pa.string()).take(pa.array(order)).cast(ITEMS.field(column).type)
        later = later.set_column(later.column_names.index(column), ITEMS.field(column), words)
    known = pa.array([moment] * len(later), pa.int64()).cast(TIME)
    second = of_one_version(later).set_column(3, "known", known)
    versions = pa.concat_tables([second, of_one_version(market.items)])
    backfilled.put_tables(market.slates, items=versions, users=market.users)
    ours = computed(backfilled, market, statistic)
    backfilled.put_dataset(market, market.slates)
    before, after = offline(market, statistic), offline(replace(market, items=later), statistic)
    columns = [key for key in before if key.startswith(("category_", "merchant_", "segment_"))]
    early = (microseconds(market.slates["time"]) <= moment)[request_of_rows(market.slates)]
    assert early.any()
    assert any((before[key] != after[key])[~early].any() for key in columns)
    assert_same(ours, {key: before[key] for key in columns}, where=early)
    assert_same(ours, {key: after[key] for key in columns}, where=~early)


def test_a_whole_frame_is_the_backfills(logged):
    """With what no SQL computes, which the data set's own events give."""
    market, backfilled = logged
    spec = standard_spec(product_pages=True, sequence=True, against_list=True, extra=("item_shoppers", "carts"))
    ours, theirs = backfilled(market, market.slates, spec=spec), backfill(market, market.slates, spec=spec)
    assert_same_features(ours, theirs, spec)


def test_a_few_requests_are_answered_as_among_all(logged):
    market, backfilled = logged
    few = market.slates.take(pa.array([31, 4, 17]))
    spec = standard_spec()
    ours, theirs = backfilled(market, few, spec=spec), backfill(market, few, spec=spec)
    backfilled.put_dataset(market, market.slates)
    for name in ("popularity", "pair_days_since", "segment_ctr", "user_carts"):
        np.testing.assert_allclose(ours.columns[name].to_numpy(), theirs.columns[name].to_numpy(), rtol=1e-6)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("name", "query"), QUERIES, ids=[f"{name}-{query.of}" for name, query in QUERIES])
def test_queries_are_other_engines_sql_over_the_contracts_columns(dialect, name, query):
    if dialect not in query.engines:
        assert name == "distinct_shoppers"
        return
    tree = parse_one(transpiled(query.sql, dialect, "market"), read=dialect)
    assert not list(tree.find_all(exp.Anonymous, exp.Final))
    made = {one.alias for one in tree.find_all(exp.CTE)}
    tables = {table.name: table.db for table in tree.find_all(exp.Table) if table.name not in made}
    assert set(tables.values()) == {"market"}
    assert set(tables) <= {"slates", "feedback", "items", "users", "requests"}
    ours = {*SLATE.names, *FEEDBACK.names, *ITEMS.names, *USERS.names, "known"}
    aliases = {alias.alias for alias in tree.find_all(exp.Alias)} | {"item", "nth"}
    assert {column.name for column in tree.find_all(exp.Column)} <= ours | aliases


def test_every_statistic_has_sql_or_says_why_not():
    for statistic in STATISTICS:
        everywhere = all(set(query.engines) == set(ENGINES) for query in statistic.point_in_time())
        assert (bool(statistic.point_in_time()) and everywhere) == (not statistic.without_sql), statistic.name


def test_extra_features_stand_where_the_standard_spec_puts_them():
    names = ("item_shoppers", "user_order_share", "carts")
    assert with_extra(standard_spec(), names) == standard_spec(extra=names)
    assert with_extra(standard_spec(impressions=False, context=()), names[:1]).features[-1].group is Group.CROSS
    assert with_extra(standard_spec(extra=names), names) == standard_spec(extra=names)
    with pytest.raises(ValueError, match="no extra features"):
        with_extra(standard_spec(), ("price",))


def said_in_spark(query, dialect):
    """A query in another engine's words; BigQuery's, which no engine here runs, as sqlglot reads them out to Spark."""
    text = transpiled(query.sql, dialect)
    if dialect == "spark":
        return text
    tree = parse_one(text, read=dialect)
    for cell in tree.find_all(exp.Bracket):  # counts from 0: of an index of no known type sqlglot forgets it
        cell.set("expressions", [exp.cast(cell.expressions[0], "int")])
    return tree.sql(dialect="spark")


@pytest.mark.slow
def test_other_engines_give_clickhouses_numbers(clickhouse_address, tmp_path):
    """Of events of different times: they know no order of arrival."""
    pytest.importorskip("pyspark", reason="pyspark is not installed (pip install value-model[spark])")
    from marketplace.spark.session import spark_session

    rng = np.random.default_rng(2)
    market = random_market(rng, requests=40, events=240)
    times = pa.array(START + rng.permutation(len(market.feedback)) * (6 * DAY // 240)).cast(TIME)
    market = replace(market, feedback=market.feedback.set_column(3, FEEDBACK.field("time"), times))
    market, backfilled = recorded(market, f"{clickhouse_address}?database=spark", rng)
    tables = {"slates": market.slates, "feedback": market.feedback, "requests": market.slates, "users": market.users}
    tables["items"] = of_one_version(market.items)
    with spark_session("local[2]", name="features") as spark:
        for name, table in tables.items():
            columns = [column for column in table.column_names if not pa.types.is_map(table.schema.field(column).type)]
            pq.write_table(table.select(columns), tmp_path / f"{name}.parquet")
            spark.read.parquet(str(tmp_path / f"{name}.parquet")).createOrReplaceTempView(name)
        for dialect, (name, query) in product(DIALECTS, QUERIES):
            if dialect in query.engines:
                ours = spark.sql(said_in_spark(query, dialect)).toArrow()
                theirs = backfilled.connection.table(query.sql)
                keys = [(key, "ascending") for key in ("request_id", "place") if key in theirs.column_names]
                assert len(ours) == len(theirs) > 5
                for column in theirs.column_names:
                    one, other = (table.sort_by(keys)[column] for table in (ours, theirs))
                    if pa.types.is_floating(other.type):
                        np.testing.assert_allclose(one.to_numpy(), other.to_numpy(), rtol=1e-9)
                    else:
                        assert one.to_pylist() == pc.cast(other, one.type).to_pylist(), (dialect, name, column)
