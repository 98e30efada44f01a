"""The retriever's files: each source in a folder of its own, and the blends; the recipes are `retrieval.surfaces`.

retriever.json          sources in order with their kinds
blends.json             weights of each surface's blend, where one was fitted
sources/NAME/           what the source `NAME` saved; `nearest` and `lexical` live in indexes
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from features.text.lexical_index import LexicalIndex
from retrieval.blend import Blends, load_blends, save_blends
from retrieval.build import BuiltIndex
from retrieval.candidates import CandidateSource, SavedSource
from retrieval.moving_index import MovingIndex
from retrieval.sources.new_arrivals import NewArrivals
from retrieval.sources.rows import SOURCES, SourceRow
from retrieval.surface_retriever import SurfaceRetriever
from retrieval.surfaces import SurfaceRecipes

BLENDS = "blends.json"


class UnknownSource(ValueError):
    """A source that cannot be written, or read back, by this program."""


def save_retriever(sources: Sequence[CandidateSource], *, blends: Blends, folder: Path) -> None:
    """Write the sources and the blends; raises UnknownSource for a source that cannot be loaded again."""
    folder.mkdir(parents=True)
    settings = []
    for source in sources:
        row = row_of(source)
        if row.over_index is None:
            cast(SavedSource, source).save(folder / "sources" / source.name)
        settings.append({"name": source.name, "kind": row.kind})
    (folder / "retriever.json").write_text(json.dumps(settings, indent=1) + "\n")
    save_blends(blends, folder / BLENDS)


def row_of(source: CandidateSource) -> SourceRow:
    """The row of a source's class; raises UnknownSource for one without a row."""
    for row in SOURCES:
        if isinstance(source, row.source):
            return row
    raise UnknownSource(f"source {source.name!r} cannot be bundled: give its class a row in retrieval.sources.rows.")


def saved_names(folder: Path) -> tuple[str, ...]:
    """The sources that `save_retriever` wrote."""
    return tuple(row["name"] for row in json.loads((folder / "retriever.json").read_text()))


def load_retriever(
    folder: Path,
    recipes: SurfaceRecipes,
    *,
    index: BuiltIndex | MovingIndex | None,
    lexical_index: LexicalIndex | None = None,
    n_items: int,
    begun: np.ndarray | None = None,
) -> SurfaceRetriever:
    """The retriever of `recipes` over the sources that `save_retriever` wrote; the indexes serve those over them.

    `n_items`: how many there were when the sources were saved. `begun` int64: when items of a catalogue that moves
    began, written to as items begin.
    """
    settings = json.loads((folder / "retriever.json").read_text())
    sources = [
        load_source(row["kind"], folder / "sources" / row["name"], index=index, lexical_index=lexical_index)
        for row in settings
    ]
    for source in sources:
        if isinstance(source, NewArrivals) and begun is not None:
            source.begun = begun
    return SurfaceRetriever(sources, recipes, blends=load_blends(folder / BLENDS), n_items=n_items)


def load_source(
    kind: str,
    folder: Path,
    *,
    index: BuiltIndex | MovingIndex | None,
    lexical_index: LexicalIndex | None = None,
) -> CandidateSource:
    """A saved source; raises UnknownSource for a kind without a row, and where the index that it needs is absent."""
    row = next((row for row in SOURCES if row.kind == kind), None)
    if row is None:
        kinds = sorted({row.kind for row in SOURCES})
        raise UnknownSource(f"a source of kind {kind!r} is unknown to this program; it knows {kinds}.")
    if row.over_index is None:
        return row.source.load(folder)
    searched = index if row.over_index == "index" else lexical_index
    if searched is None:
        raise UnknownSource(f"source {kind!r} needs an index, and the bundle holds none. Export the bundle again.")
    return row.source(searched)
