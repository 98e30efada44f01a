"""The command `value-model embed`: a run's embeddings for other teams."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("embed")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="where the files go")
@click.option("--nearest", type=click.IntRange(0, 1000), default=0, help="of each row, so many that lie nearest")
def embed_command(folder: Path, out: Path, nearest: int) -> None:
    """Write the embeddings of run FOLDER as Parquet: shoppers, items, sessions and search texts.

    Unit vectors of one space: the inner product with an item is the towers' score. With --nearest 20 similar
    items and shoppers, and items for sessions and search texts, stand beside them. docs/retrieval.md has the columns.
    """
    from jobs.embed import embed

    embed(folder, out, nearest=nearest)
