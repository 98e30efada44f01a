"""ClickHouse's SQL in other engines' words, by sqlglot: the log's sums, and the point-in-time queries of features.

The tables are those of the log contract, as Parquet files by day hold them. Other engines know no row that stands there
twice: compact the days first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from marketplace.clickhouse.sums import EVENTS, PERIODS, SHOWN

if TYPE_CHECKING:
    from sqlglot import exp

DIALECTS = ("bigquery", "spark")
ORDERED = {"slates": "request_id", "feedback": "feedback_id"}  # in place of the order of arrival, which ClickHouse has


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

    tree = parse_one(query, read="clickhouse")
    named = {cte.alias for cte in tree.find_all(exp.CTE)}

    def source_of(column: exp.Expr) -> str:
        select = column.find_ancestor(exp.Select)
        source = None if select is None else select.args.get("from_")
        table = None if source is None else source.this
        return (table.this if isinstance(table, exp.Final) else table).name if table is not None else ""

    def plain(node: exp.Expr) -> exp.Expr:
        match node:
            case exp.Count() if node.this is None:
                node.set("this", exp.Star())
            case exp.From() if isinstance(node.this, exp.Final):
                node.set("this", node.this.this)
            case exp.Ordered():  # nothing that is ordered by is null
                node.set("nulls_first", not node.args.get("desc"))
            case exp.Select():
                _open_arrays(node, dialect)
            case exp.Anonymous() if node.name == "toDateTime64":
                return node.expressions[0]
            case exp.Anonymous() if node.name == "toUnixTimestamp64Micro":
                return exp.UnixMicros(this=node.expressions[0])
            case exp.Column() if node.name == "arrival" and source_of(node) in ORDERED:
                return exp.column(ORDERED[source_of(node)])
            case exp.Column() if node.name in counted and source_of(node) == "slates":
                return counted[node.name].copy()
            case exp.Table() if tables and node.name not in named:
                place = exp.to_table(f"{tables}.{node.name}", dialect=dialect)
                node.set("db", place.args.get("db"))
                node.set("catalog", place.args.get("catalog"))
        return node

    return tree.transform(plain).sql(dialect=dialect, pretty=True)


def _open_arrays(select: exp.Select, dialect: str) -> None:
    """Have a SELECT with an ARRAY JOIN say it as the dialect does: its first array is opened, others are looked up."""
    from sqlglot import exp

    joins = select.args.get("joins") or []
    opened = next((join for join in joins if join.args.get("kind") == "ARRAY"), None)
    if opened is None:
        return
    first, others = opened.this, opened.expressions
    place = exp.column("nth")  # from 0 on

    def cell(array: exp.Expr) -> exp.Expr:
        if isinstance(array, exp.Anonymous) and array.name == "arrayEnumerate":
            return exp.Add(this=place.copy(), expression=exp.Literal.number(1))
        return exp.Bracket(this=array.copy(), expressions=[place.copy()], offset=0)

    cells = {alias.alias: cell(alias.this) for alias in others}
    select.set("joins", [join for join in joins if join is not opened])
    for column in list(select.find_all(exp.Column)):
        if column.name in cells:
            new = cells[column.name].copy()
            column.replace(exp.alias_(new, column.name) if column.parent is select else new)
    names = [exp.to_identifier("nth"), exp.to_identifier(first.alias)]
    if dialect == "spark":
        alias = exp.TableAlias(this=exp.to_identifier("opened"), columns=names)
        select.append("laterals", exp.Lateral(this=exp.Posexplode(this=first.this), view=True, alias=alias))
    else:
        alias = exp.TableAlias(columns=names[1:])
        unnest = exp.Unnest(expressions=[first.this], alias=alias, offset=names[0])
        select.append("joins", exp.Join(this=unnest, kind="CROSS"))
