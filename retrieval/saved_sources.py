"""The retriever's files: each source in a folder of its own, and how they are merged.

retriever.json          sources in order with their quotas
blend.json              weights of the blend, where one was fitted
sources/NAME/           what the source `NAME` saved; `nearest` lives in the index
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, cast

from retrieval.affinity import Affinity
from retrieval.blend import Blend
from retrieval.build import BuiltIndex
from retrieval.covisits import CoVisits
from retrieval.popularity import Popularity
from retrieval.recent import Recent
from retrieval.repeat_purchase import RepeatPurchase
from retrieval.retriever import Quota, Retriever
from retrieval.similar_segments import SimilarSegments
from retrieval.source import CandidateSource
from retrieval.two_tower_source import TwoTowerSource
from retrieval.user_history import UserHistory

# By the name that is written down: a class may be renamed, a bundle may not.
LEARNED: Mapping[str, type] = {
    "affinity": Affinity,
    "covisits": CoVisits,
    "popularity": Popularity,
    "rebuys": RepeatPurchase,
    "related": SimilarSegments,
    "repeats": UserHistory,
}
NEAREST, RECENT = "nearest", "recent"


class UnknownSource(ValueError):
    """A source that cannot be written, or read back, by this program."""


class SavedSource(Protocol):
    """A source that can be written."""

    name: str

    def save(self, folder: Path) -> None: ...


def save_retriever(
    sources: Sequence[CandidateSource], quotas: Mapping[str, Quota], *, blend: Blend | None, folder: Path
) -> None:
    """Write the sources, their quotas and the blend; raises UnknownSource for a source that cannot be loaded again."""
    folder.mkdir(parents=True)
    settings = []
    for source in sources:
        kind = kind_of(source)
        if kind in LEARNED:
            cast(SavedSource, source).save(folder / "sources" / source.name)
        settings.append({"name": source.name, "kind": kind, **asdict(quotas[source.name])})
    (folder / "retriever.json").write_text(json.dumps(settings, indent=1) + "\n")
    if blend is not None:
        blend.save(folder / "blend.json")


def kind_of(source: CandidateSource) -> str:
    """The name that a source's class is written down under; raises UnknownSource for one without a name."""
    for kind, implementation in {**LEARNED, NEAREST: TwoTowerSource, RECENT: Recent}.items():
        if isinstance(source, implementation):
            return kind
    raise UnknownSource(f"source {source.name!r} cannot be bundled: add its class to retrieval.saved_sources.")


def load_retriever(folder: Path, *, index: BuiltIndex | None, n_items: int) -> Retriever:
    """The retriever that `save_retriever` wrote, over a catalogue of `n_items`; `index` serves the source `nearest`."""
    settings = json.loads((folder / "retriever.json").read_text())
    sources = [_load_source(row["kind"], folder / "sources" / row["name"], index, n_items) for row in settings]
    quotas = {row["name"]: Quota(row["ask"], row["sure"]) for row in settings}
    blend = Blend.load(folder / "blend.json") if (folder / "blend.json").exists() else None
    return Retriever(sources, quotas, blend=blend)


def _load_source(kind: str, folder: Path, index: BuiltIndex | None, n_items: int) -> CandidateSource:
    if kind == RECENT:
        return Recent(n_items)
    if kind == NEAREST:
        if index is None:
            raise UnknownSource("source 'nearest' needs an index, and the bundle holds none. Export the bundle again.")
        return TwoTowerSource(index)
    if kind not in LEARNED:
        raise UnknownSource(f"a source of kind {kind!r} is unknown to this program; it knows {sorted(LEARNED)}.")
    return cast(CandidateSource, LEARNED[kind].load(folder))  # type: ignore[attr-defined]
