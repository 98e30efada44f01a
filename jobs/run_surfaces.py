"""Surface recipes of a run: `surfaces.toml` in its folder, written from the shipped file or from --surfaces."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from jobs.run_folder import RunFolder
from retrieval.surfaces import SurfaceRecipes, load_surfaces, shipped_surfaces, to_toml

FILE = "surfaces.toml"


def recipes_of(run: RunFolder, names: Collection[str]) -> SurfaceRecipes:
    """The recipes of the run's folder, which people may edit; `names` are the sources that its data feeds.

    Raises DataError for a file that cannot be used, with lines and nearest names.
    """
    path = run.path / FILE
    if path.exists():
        return load_surfaces(path, known=names)
    recipes, house = shipped_surfaces(), shipped_surfaces().names
    if run.config.surfaces != "default":
        recipes = load_surfaces(Path(run.config.surfaces), known={*house, *names})
        if absent := [name for name in recipes.names if name not in names]:
            print(f"   surfaces: left out {', '.join(absent)}, which this data does not feed")
    recipes = recipes.only(names)
    path.write_text(to_toml(recipes))
    return recipes
