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
from retrieval.nearest import Nearest
from retrieval.popularity import Popularity
from retrieval.repeats import Repeats
from retrieval.retriever import Quota, Retriever
from retrieval.source import CandidateSource
from serving.manifest import BundleError

LEARNED = (Affinity, CoVisits, Popularity, Repeats)


class Saved(Protocol):
    """A source that can be written."""

    name: str

    def save(self, folder: Path) -> None: ...


def save_retriever(
    sources: Sequence[CandidateSource], quotas: Mapping[str, Quota], *, blend: Blend | None, folder: Path
) -> None:
    """Write the sources, their quotas and the blend; raises BundleError for a source that cannot be loaded again."""
    folder.mkdir(parents=True)
    for source in sources:
        if isinstance(source, LEARNED):
            cast(Saved, source).save(folder / "sources" / source.name)
        elif not isinstance(source, Nearest):
            raise BundleError(f"source {source.name!r} cannot be bundled: add its class to serving.retriever_files.")
    settings = [{"name": source.name, **asdict(quotas[source.name])} for source in sources]
    (folder / "retriever.json").write_text(json.dumps(settings, indent=1) + "\n")
    if blend is not None:
        blend.save(folder / "blend.json")


def load_retriever(folder: Path, *, index: BuiltIndex | None) -> Retriever:
    """The retriever that `save_retriever` wrote; `index` serves the source `nearest`."""
    settings = json.loads((folder / "retriever.json").read_text())
    sources = [_load_source(row["name"], folder / "sources" / row["name"], index) for row in settings]
    quotas = {row["name"]: Quota(row["ask"], row["sure"]) for row in settings}
    blend = Blend.load(folder / "blend.json") if (folder / "blend.json").exists() else None
    return Retriever(sources, quotas, blend=blend)


def _load_source(name: str, folder: Path, index: BuiltIndex | None) -> CandidateSource:
    if name == Nearest.name:
        if index is None:
            raise BundleError("source 'nearest' needs an index, and the bundle holds none. Export the bundle again.")
        return Nearest(index)
    known = {kind.name: kind for kind in LEARNED}
    if name not in known:
        raise BundleError(f"source {name!r} is unknown to this program; it knows {sorted(known)}.")
    return cast(CandidateSource, known[name].load(folder))  # type: ignore[attr-defined]
