"""The commands `value-model items ...`: the catalogue that a service serves."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.group("items")
def item_commands() -> None:
    """Move the catalogue that a service serves."""


@item_commands.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.argument("target")
@click.option("--version", type=int, default=None, help="of rows without one  [default: the file's time, milliseconds]")
@click.option("--dry-run", is_flag=True, help="check the file, and write nothing")
def import_items(file: Path, target: str, version: int | None, dry_run: bool) -> None:
    """Write the items of FILE (CSV or Parquet) into TARGET, a service's address or a run's folder.

    \b
    Columns: item_id, version, price, currency, in_stock, hidden, blocked, available_from, expires_at, merchant_id,
    category, name, margin, and attributes.NAME, numeric.NAME, text.NAME. Empty cells leave a field as it is.
    VALUE_MODEL_KEY is sent to a service that has keys. Exits with 1 where items are unknown and cannot begin.
    """
    from jobs.import_items import import_items as job

    sys.exit(job(file, target, version=version, dry_run=dry_run))
