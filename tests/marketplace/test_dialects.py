"""The log's sums in the SQL of other engines: parsed by their own grammar, over columns that their tables have."""

import pytest
from click.testing import CliRunner
from sqlglot import exp, parse_one

from jobs.cli import cli
from marketplace.clickhouse.dialects import sums_in
from marketplace.schema import FEEDBACK, SLATE

OURS = {"slates": SLATE, "feedback": FEEDBACK}


@pytest.mark.parametrize("dialect", ["bigquery", "spark"])
@pytest.mark.parametrize("by", ["day", "hour"])
def test_the_queries_are_the_engines_sql_over_the_contracts_columns(dialect, by):
    for query in sums_in(dialect, by=by, tables="market").values():
        tree = parse_one(query, read=dialect)
        assert not list(tree.find_all(exp.Anonymous)), query
        (table,) = tree.find_all(exp.Table)
        assert table.db == "market"
        inner = table.find_ancestor(exp.Select)
        lambdas = {name.name for one in inner.find_all(exp.Lambda) for name in one.expressions} | {"place"}
        made = {column.alias for column in inner.expressions if column.alias}
        columns = {column.name for column in inner.find_all(exp.Column)} - lambdas
        assert columns <= {*OURS[table.name].names, *made}
        assert columns & set(OURS[table.name].names)


def test_the_command_prints_them():
    answer = CliRunner().invoke(cli, ["log", "sql", "--dialect", "bigquery", "--tables", "market"])
    assert answer.exit_code == 0
    assert "FROM market.slates" in answer.output
    assert "-- events" in answer.output
