"""Migrations: the statements that bring a database from one version of the tables to the next, each run once in order.

A statement does nothing where it was run before, so that whoever is killed between two of them begins again.
"""

from __future__ import annotations

from marketplace.clickhouse import tables
from marketplace.clickhouse.connection import ClickhouseClient
from marketplace.schema import SCHEMA_VERSION, SchemaError

FIRST = (tables.SLATES, tables.EVENTS, tables.APART, tables.CATALOGUE, tables.ORDERS, tables.MARKS)
MIGRATIONS: tuple[tuple[str, ...], ...] = ((*FIRST, tables.ITEMS, tables.EXPOSURES),)
VERSIONS = """CREATE TABLE IF NOT EXISTS versions (
    number UInt32, schema_version UInt32, time DateTime64(6, 'UTC') DEFAULT now64(6))
ENGINE = ReplacingMergeTree ORDER BY number"""
KNOWN = "SELECT max(number), max(schema_version) FROM versions"


def migrate(connection: ClickhouseClient) -> None:
    """Bring the tables up to date; raises SchemaError where a later program made them."""
    connection.command(VERSIONS)
    number, schema = connection.rows(KNOWN)[0]
    if number > len(MIGRATIONS) or schema not in (0, SCHEMA_VERSION):
        raise SchemaError(
            f"{connection.place} holds tables of version {number} (schema {schema}), this program knows up to "
            f"{len(MIGRATIONS)} (schema {SCHEMA_VERSION}). Read it with the program that wrote it."
        )
    for later, statements in enumerate(MIGRATIONS[number:], number + 1):
        for statement in statements:
            connection.command(statement)
        connection.command(f"INSERT INTO versions (number, schema_version) VALUES ({later}, {SCHEMA_VERSION})")
