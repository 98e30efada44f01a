"""Surface recipes: how the candidates of each surface come about, read from `surfaces.toml`.

A recipe names the sources that are asked with their quotas, how their proposals become one list, which sources vouch
for relevance, what fills a list that stays short, and which items the surface may show. The file as shipped stands
beside this module; a run keeps the part of it that its data has sources for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from marketplace.finding import DataError, FieldError, Finding, nearest
from marketplace.schema import SURFACES
from marketplace.toml_model import Fix, as_model
from marketplace.toml_text import TomlText, parse_toml
from retrieval.item_filter import NO_FILTER, ItemFilter
from retrieval.retriever import CATALOGUE, Quota

SHIPPED = Path(__file__).with_name("surfaces.toml")
SHIPPED_HEAD = """\
# Where the candidates of each surface come from (docs/surfaces.md). Written by the run from the shipped file, without
# the sources that its data cannot feed. `value-model export RUN` puts changes in force, `train-retrieval RUN` fits the
# blends of fusion = "learned" to them as well.
"""

Names = Annotated[tuple[str, ...], Field(max_length=100)]


@dataclass(frozen=True)
class Recipe:
    """One surface: `sources` by name. A candidate must be proposed by one of `relevant`, where any is named.

    At most `most` candidates, the best by the surface's score, are ranked. Where fewer than `least` come, the
    `fallback` sources fill up, in their order. `filters`: what may be shown at all.
    """

    sources: dict[str, Quota]
    fusion: Annotated[Literal["learned", "ranks"], Fix('Write fusion = "learned" or fusion = "ranks".')] = "learned"
    relevant: Names = ()
    fallback: Names = ()
    most: Annotated[int, Field(ge=1, le=5000), Fix("Write a whole number of candidates, 1 to 5000.")] = 500
    least: Annotated[int, Field(ge=1, le=1000), Fix("Write a whole number of candidates, 1 to 1000.")] = 50
    filters: ItemFilter = NO_FILTER

    def __post_init__(self) -> None:
        if not self.sources:
            raise FieldError("names no source", "Give it a table sources with one source or more.", key="sources")
        for name in self.relevant:
            if name not in self.sources:
                fix = f"{nearest(name, sorted(self.sources))} Only sources of the surface can vouch for an item."
                raise FieldError(f"holds {name!r} under relevant, which is not among its sources", fix, key="relevant")

    @property
    def names(self) -> tuple[str, ...]:
        """Every source that it needs."""
        return tuple(dict.fromkeys([*self.sources, *(name for name in self.fallback if name != CATALOGUE)]))

    def only(self, known: Collection[str]) -> Recipe:
        """Without the sources that are not `known`."""
        return replace(
            self,
            sources={name: quota for name, quota in self.sources.items() if name in known},
            relevant=tuple(name for name in self.relevant if name in known),
            fallback=tuple(name for name in self.fallback if name in known or name == CATALOGUE),
        )


@dataclass(frozen=True)
class SurfaceRecipes:
    """The recipe of every surface (`marketplace.schema.SURFACES`)."""

    home: Recipe
    search: Recipe
    store_page: Recipe
    product_page: Recipe

    def __getitem__(self, surface: str) -> Recipe:
        return getattr(self, surface)

    def items(self) -> Iterator[tuple[str, Recipe]]:
        """Surfaces and their recipes, in the order of SURFACES."""
        return ((surface, self[surface]) for surface in SURFACES)

    def only(self, known: Collection[str]) -> SurfaceRecipes:
        """Without the sources that are not `known`: those that a run's data cannot feed."""
        return SurfaceRecipes(**{surface: recipe.only(known) for surface, recipe in self.items()})

    @property
    def names(self) -> tuple[str, ...]:
        """Every source that a surface needs."""
        return tuple(dict.fromkeys(name for _, recipe in self.items() for name in recipe.names))

    @property
    def version(self) -> str:
        """Hash of the recipes, whatever the layout of their file; an entry at its default does not count."""
        return hashlib.sha256("".join(_section(*row) for row in self.items()).encode()).hexdigest()[:12]

    @classmethod
    def alike(cls, quotas: Mapping[str, Quota]) -> SurfaceRecipes:
        """The same sources on every surface."""
        return cls(**{surface: Recipe(dict(quotas)) for surface in SURFACES})


def load_surfaces(path: Path, *, known: Collection[str]) -> SurfaceRecipes:
    """The recipes of a file; `known` are the sources that there are.

    Raises DataError with every finding: unknown fields and sources with the nearest name, each with its line.
    """
    text = parse_toml(path.read_bytes(), file=str(path))
    recipes = as_model(text, SurfaceRecipes)
    if findings := list(_unknown_sources(text, recipes, known)):
        raise DataError(findings)
    return recipes


def read_surfaces(path: Path) -> SurfaceRecipes:
    """The recipes of a file, whatever sources there are; raises DataError."""
    return as_model(parse_toml(path.read_bytes(), file=str(path)), SurfaceRecipes)


def _unknown_sources(text: TomlText, recipes: SurfaceRecipes, known: Collection[str]) -> Iterator[Finding]:
    for surface, recipe in recipes.items():
        for name in recipe.names:
            if name not in known:
                path = (surface, "sources", name) if name in recipe.sources else (surface, "fallback")
                names = [*sorted(known), CATALOGUE] if path[1] == "fallback" else sorted(known)
                yield Finding("sources", text.where(*path), f"unknown source {name!r}.", nearest(name, names))


def shipped_surfaces() -> SurfaceRecipes:
    """The recipes of the house."""
    return read_surfaces(SHIPPED)


def to_toml(recipes: SurfaceRecipes) -> str:
    """The file of recipes: `load_surfaces` reads the same back."""
    return SHIPPED_HEAD + "".join(_section(surface, recipe) for surface, recipe in recipes.items())


def _section(surface: str, recipe: Recipe) -> str:
    defaults = {f.name: f.default for f in fields(Recipe)}
    plain = {name: getattr(recipe, name) for name in ("fusion", "relevant", "fallback", "most", "least")}
    lines = [f"{name} = {json.dumps(value)}" for name, value in plain.items() if value != defaults[name]]
    lines += ["", f"[{surface}.sources]", *(f"{name} = {_inline(quota)}" for name, quota in recipe.sources.items())]
    if narrows := {name: value for name, value in asdict(recipe.filters).items() if value}:
        lines += ["", f"[{surface}.filters]", *(f"{name} = {_value(value)}" for name, value in narrows.items())]
    return "\n".join(["", f"[{surface}]", *lines, ""])


def _inline(quota: Quota) -> str:
    entries = [f"ask = {quota.ask}"]
    entries += [f"{name} = {value}" for name, value in (("sure", quota.sure), ("share", quota.share)) if value]
    return "{ " + ", ".join(entries) + " }"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(name)} = {json.dumps(words)}" for name, words in value.items()) + " }"
    return json.dumps(value)
