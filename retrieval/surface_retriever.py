"""Surface retriever: the recipe of each surface over a run's sources."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.blend import Blend, Blends, ScoringSource
from retrieval.candidates import Candidates, CandidateSource, PopularitySource, Query
from retrieval.retriever import CATALOGUE, Retriever, WholeCatalogue
from retrieval.surfaces import Recipe, SurfaceRecipes


class SurfaceRetriever:
    """One `Retriever` a surface: it asks the sources of the surface's recipe, merged by the surface's own blend."""

    def __init__(
        self, sources: Sequence[CandidateSource], recipes: SurfaceRecipes, *, blends: Blends, n_items: int
    ) -> None:
        """`n_items`: those that the sources know; ValueError where a learned blend lacks the weight of a source."""
        self.recipes = recipes
        self.popularity = next((source for source in sources if isinstance(source, PopularitySource)), None)
        by_name = {source.name: source for source in sources} | {CATALOGUE: WholeCatalogue(n_items)}
        self._of = {
            surface: Retriever(
                [by_name[name] for name in recipe.sources],
                recipe.sources,
                blend=blend_of(surface, recipe, blends, sources=[by_name[name] for name in recipe.sources]),
                relevant=recipe.relevant,
                fallback=[by_name[name] for name in recipe.fallback],
                least=recipe.least,
                rows=n_items,
            )
            for surface, recipe in recipes.items()
        }

    def __getitem__(self, surface: str) -> Retriever:
        return self._of[surface]

    def retrieve(self, query: Query, *, k: int, places: int = 0) -> Candidates:
        """At most k candidates of the query's surface, nor more than its recipe has ranked; see `Retriever.retrieve`.

        A longer page than that is filled all the same: twice as many `places`, so that the slate's rules have a choice.
        """
        most = max(self.recipes[query.surface].most, 2 * places)
        return self._of[query.surface].retrieve(query, k=min(k, most), places=places)


def blend_of(surface: str, recipe: Recipe, blends: Blends, *, sources: Sequence[CandidateSource]) -> Blend | None:
    """The surface's blend; None where ranks are fused, or no blend was fitted for want of examples."""
    if recipe.fusion == "ranks" or surface not in blends:
        return None
    weights = blends[surface]
    scoring = [source.name for source in sources if isinstance(source, ScoringSource)]
    if missing := [name for name in scoring if name not in weights]:
        raise ValueError(
            f"surface {surface!r}: the learned blend has no weight for {', '.join(missing)}. Run `value-model "
            'train-retrieval` again, or write fusion = "ranks" under it.'
        )
    return Blend(tuple(weights[name] for name in scoring))
