"""The log's sums in other engines' SQL: those of `clickhouse.sums` for ClickHouse, transpiled by sqlglot.

The tables are those of the log contract, as Parquet files by day hold them. Other engines know no row that stands there
twice: compact the days first.
"""

from __future__ import annotations

from collections.abc import Mapping

from marketplace.clickhouse.sums import EVENTS, PERIODS, SHOWN

DIALECTS = ("bigquery", "spark")


def sums_in(dialect: str, *, by: str, tables: str = "") -> Mapping[str, str]:
    """Queries by name, `shown` and `events`, for one of DIALECTS; `tables` is the data set that holds the tables."""
    queries = {"shown": SHOWN, "events": EVENTS}
    return {name: transpiled(query.format(period=PERIODS[by]), dialect, tables) for name, query in queries.items()}


def transpiled(query: str, dialect: str, tables: str = "") -> str:
    """A query of ClickHouse in another dialect, over the columns of the contract; raises ValueError without sqlglot."""
    try:
        from sqlglot import exp, parse_one
    except ImportError as error:
        raise ValueError("SQL is transpiled by sqlglot: install it with `pip install value-model[spark]`.") from error
    counted = {  # what ClickHouse keeps beside the contract's columns
        "considered": parse_one("size(position)", read="spark"),
        "shown": parse_one("size(filter(position, place -> place > 0))", read="spark"),
    }

    def source_of(column: exp.Expr) -> str:
        select = column.find_ancestor(exp.Select)
        source = None if select is None else select.find(exp.From)
        return "" if source is None else source.name

    def plain(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Count) and node.this is None:
            return exp.Count(this=exp.Star())
        if isinstance(node, exp.Anonymous) and node.name == "toDateTime64":
            return node.expressions[0]
        if isinstance(node, exp.Column) and node.name in counted and source_of(node) == "slates":
            return counted[node.name].copy()
        if isinstance(node, exp.Table) and tables:
            return exp.to_table(f"{tables}.{node.name}", dialect=dialect)
        return node

    return parse_one(query, read="clickhouse").transform(plain).sql(dialect=dialect, pretty=True)
