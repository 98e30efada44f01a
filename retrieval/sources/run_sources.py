"""Sources of a run: the rows that suit its data, as of a time."""

from __future__ import annotations

from typing import Any

from features.catalogue import Catalogue
from features.interactions import Interactions
from marketplace.dataset import Dataset
from retrieval.blend import Blends
from retrieval.build import BuiltIndex
from retrieval.config import SOURCE_DEFAULTS, SourcesConfig
from retrieval.sources.covisits import CoVisits, PairsOf
from retrieval.sources.inputs import SourceInputs
from retrieval.sources.rows import SOURCES
from retrieval.surface_retriever import SurfaceRetriever
from retrieval.surfaces import SurfaceRecipes, shipped_surfaces


class RunSources:
    """The sources that suit a data set, as of a time that only goes on."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        segment: str,
        index: BuiltIndex | None,
        catalogue: Catalogue | None = None,
        config: SourcesConfig = SOURCE_DEFAULTS,
        pairs_of: PairsOf | None = None,
    ) -> None:
        """`catalogue`: that of `dataset`, where one is at hand; `pairs_of` counts co-visits, None = in this process."""
        self._inputs = SourceInputs(dataset, segment, index, catalogue, config)
        self._rows = tuple(row for row in SOURCES if row.when(self._inputs))
        self.sources = [row.build(self._inputs) for row in self._rows]
        self._until: int | None = None
        self._pairs_of = pairs_of

    def advance(self, until: int) -> RunSources:
        """Learn what happened before `until` (UTC microseconds)."""
        events: dict[Any, Interactions] = {}
        for row, source in zip(self._rows, self.sources, strict=True):
            if self._pairs_of is not None and isinstance(source, CoVisits):
                source.add(self._pairs_of(self._until, until, half_life_days=source.half_life_days), until=until)
            elif row.learns_from is not None:
                if row.learns_from not in events:
                    events[row.learns_from] = row.learns_from(self._inputs, self._until, until)
                source.update(events[row.learns_from])
        self._until = until
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(source.name for source in self.sources)

    def retriever(self, recipes: SurfaceRecipes | None = None, *, blends: Blends) -> SurfaceRetriever:
        """The sources merged by `recipes` (None = the shipped ones, as far as there are sources for them)."""
        recipes = shipped_surfaces().only(self.names) if recipes is None else recipes
        return SurfaceRetriever(self.sources, recipes, blends=blends, n_items=self._inputs.n_items)
