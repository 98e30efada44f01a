"""The command `value-model embed`: a run's embeddings for other teams."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("embed")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="where the files go")
def embed_command(folder: Path, out: Path) -> None:
    """Write the embeddings of run FOLDER as Parquet: shoppers, items, sessions and search texts.

    Unit vectors of one space: the inner product with an item is the towers' score. docs/retrieval.md has the columns.
    """
    from jobs.embed import embed

    embed(folder, out)
