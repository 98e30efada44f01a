"""Recipes of surfaces: read, written, refused with line and nearest name; and what they do to a list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from marketplace.finding import DataError
from retrieval.candidates import Query
from retrieval.item_filter import NO_FILTER, FilterColumns, ItemFilter, UnknownWord
from retrieval.retriever import Quota, Retriever
from retrieval.surface_retriever import SurfaceRetriever
from retrieval.surfaces import Recipe, SurfaceRecipes, load_surfaces, shipped_surfaces, to_toml

N = 100
KNOWN = ("nearest", "popularity")
PLAIN = "".join(
    f"[{surface}.sources]\nnearest = {{ ask = 10 }}\npopularity = {{ ask = 10, sure = 2, share = 0.25 }}\n"
    for surface in ("home", "search", "store_page", "product_page")
)


@dataclass
class Fixed:
    """A source that always proposes the same items, its score the negative item."""

    name: str
    items: list[int]

    def propose(self, query, *, k):
        allowed = [item for item in self.items if query.allowed is None or query.allowed[item]]
        items = np.array([item for item in allowed if item not in query.exclude], np.int32)[:k]
        return items, self.score(query, items)

    def score(self, query, items):
        return -np.asarray(items, np.float32)


def query(**changes):
    return Query(**({"user_id": "u", "segment": "s", "history": np.empty(0, np.int32)} | changes))


def written(tmp_path, text):
    path = tmp_path / "surfaces.toml"
    path.write_text(text)
    return path


def test_a_file_comes_back_as_it_was_written(tmp_path):
    recipe = Recipe(
        {"nearest": Quota(30, 5, 0.1), "popularity": Quota(20)},
        fusion="ranks",
        relevant=("nearest",),
        fallback=("popularity", "catalogue"),
        most=90,
        least=7,
        filters=ItemFilter(price_to=90.5, attributes={"brand": ('a"b', "ج")}, without_categories=("toys",)),
    )
    recipes = SurfaceRecipes(recipe, recipe, Recipe({"nearest": Quota(3)}), recipe)
    again = load_surfaces(written(tmp_path, to_toml(recipes)), known=KNOWN)
    assert again == recipes
    assert again.version == recipes.version != shipped_surfaces().version
    only = shipped_surfaces().only(KNOWN)
    assert load_surfaces(written(tmp_path, to_toml(only)), known=KNOWN) == only


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("nearest = { ask = 10 }", "nerest = { ask = 10 }"),
            r":2: error: unknown source 'nerest'.*Did you mean 'nearest'",
        ),
        (("ask = 10 }", "asks = 10 }"), r":2: error: unknown field 'asks'.*Did you mean 'ask'"),
        (("[home.sources]", '[home]\nfuson = "ranks"\n[home.sources]'), r":2: error: unknown field 'fuson'"),
        (("[home.sources]", '[home]\nfusion = "rank"\n[home.sources]'), r':2: .*fusion is .rank.*fusion = "ranks"'),
        (("[home.sources]", '[home]\nrelevant = ["words"]\n[home.sources]'), r":2: .*'words' under relevant"),
        (("[home.sources]", '[home]\nfallback = ["catalog"]\n[home.sources]'), r":2: .*Did you mean 'catalogue'"),
        (("[home.sources]", "[home]\nleast = 0\n[home.sources]"), r":2: .*home.least is 0"),
        (("share = 0.25", "share = 1.5"), r":3: .*share is 1.5.*0 to 1"),
        (("ask = 10, sure", "ask = 10000, sure"), r":3: .*ask is 10000.*0 to 5000"),
        (("[search.sources]", "[serch.sources]"), r":4: error: unknown field 'serch'.*'search'"),
        (("[home.sources]", "[home.filters]\nprice_from = 9.0\nprice_to = 3.0\n[home.sources]"), r":2: .*price_from 9"),
    ],
)
def test_mistakes_are_named_with_their_line_and_the_nearest_name(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        load_surfaces(written(tmp_path, PLAIN.replace(*change, 1)), known=KNOWN)


def test_each_surface_asks_the_sources_of_its_recipe():
    sources = [Fixed("nearest", [1, 2, 3]), Fixed("popularity", [4, 5])]
    one, other = Recipe({"nearest": Quota(2)}), Recipe({"popularity": Quota(9)})
    recipes = SurfaceRecipes(one, other, other, other)
    retriever = SurfaceRetriever(sources, recipes, blends={}, n_items=N)
    assert retriever.retrieve(query(), k=9).items.tolist() == [1, 2]
    assert retriever.retrieve(query(surface="search"), k=9).items.tolist() == [4, 5]


def test_a_blend_without_the_weight_of_a_source_is_refused():
    sources = [Fixed("nearest", [1]), Fixed("popularity", [4])]
    recipes = SurfaceRecipes.alike({"nearest": Quota(2), "popularity": Quota(2)})
    with pytest.raises(ValueError, match="'home': the learned blend has no weight for popularity"):
        SurfaceRetriever(sources, recipes, blends={"home": {"nearest": 1.0}}, n_items=N)


def test_a_surface_has_no_more_candidates_ranked_than_its_recipe_says_but_enough_to_choose_a_page_from():
    recipe = Recipe({"nearest": Quota(50)}, most=5)
    retriever = SurfaceRetriever(
        [Fixed("nearest", list(range(50)))], SurfaceRecipes(*(4 * [recipe])), blends={}, n_items=N
    )
    assert len(retriever.retrieve(query(), k=40).items) == 5
    assert len(retriever.retrieve(query(), k=40, places=10).items) == 20
    assert len(retriever.retrieve(query(), k=4, places=2).items) == 4


def test_an_entry_at_its_default_does_not_count_for_the_version():
    """So that a bundle stays valid when recipes get a further entry."""
    one, other = Recipe({"nearest": Quota(2)}), Recipe({"nearest": Quota(2, 0, 0.0)}, fusion="learned")
    assert SurfaceRecipes(one, one, one, one).version == SurfaceRecipes(other, one, one, other).version
    assert SurfaceRecipes(one, one, one, one).version != SurfaceRecipes(one, one, one, Recipe({"x": Quota(2)})).version


def test_a_share_of_the_candidates_is_sure():
    """Of 20 candidates a quarter, 5, are the second source's best although their scores are the lowest."""
    sources = [Fixed("first", list(range(50))), Fixed("second", list(range(50, 90)))]
    from retrieval.blend import Blend

    quotas = {"first": Quota(50), "second": Quota(40, share=0.25)}
    chosen = Retriever(sources, quotas, blend=Blend((1.0, 1.0))).retrieve(query(), k=20)
    assert chosen.items.tolist() == [*range(15), *range(50, 55)]


def test_what_no_relevant_source_vouches_for_is_no_candidate():
    sources = [Fixed("words", [3, 9]), Fixed("popularity", [1, 2, 3])]
    quotas = {source.name: Quota(9) for source in sources}
    chosen = Retriever(sources, quotas, relevant=("words",)).retrieve(query(), k=9)
    assert sorted(chosen.items.tolist()) == [3, 9]


def test_a_short_list_is_filled_in_the_order_of_the_fallback_and_says_so():
    sources = [Fixed("words", [30])]
    fallback = [Fixed("popularity", [30, 7, 5, 1]), Fixed("nearest", [7, 8, 9])]
    retriever = Retriever(sources, {"words": Quota(9)}, fallback=fallback, least=5)
    chosen = retriever.retrieve(query(exclude=np.array([1], np.int32)), k=9)
    assert chosen.items.tolist() == [30, 7, 5, 8, 9]
    assert chosen.source_name.tolist() == ["words", "popularity", "popularity", "nearest", "nearest"]
    assert (np.diff(chosen.score) < 0).all()
    assert len(retriever.retrieve(query(), k=3).items) == 3


def test_every_place_is_filled_while_the_catalogue_has_items():
    recipes = SurfaceRecipes(*(4 * [Recipe({"nearest": Quota(9)}, fallback=("catalogue",), least=2)]))
    retriever = SurfaceRetriever([Fixed("nearest", [40])], recipes, blends={}, n_items=N)
    allowed = np.arange(N) >= 60
    assert retriever.retrieve(query(allowed=allowed), k=50, places=30).items.tolist() == list(range(60, 90))
    assert len(retriever.retrieve(query(allowed=allowed), k=50, places=50).items) == 40


ITEMS = FilterColumns(
    codes={"category": np.array([0, 0, 1, -1]), "merchant": np.array([0, 1, 1, 0]), "brand": np.array([0, -1, 1, 1])},
    code={"category": {"a": 0, "b": 1}, "merchant": {"m": 0, "n": 1}, "brand": {"x": 0, "y": 1}},
    price=np.array([10.0, 20.0, 30.0, 40.0]),
)


@pytest.mark.parametrize(
    ("conditions", "passing"),
    [
        (ItemFilter(categories=("a",)), [0, 1]),
        (ItemFilter(categories=("a", "b"), merchants=("n",)), [1, 2]),
        (ItemFilter(price_from=20, price_to=30), [1, 2]),
        (ItemFilter(attributes={"brand": ("y",)}), [2, 3]),
        (ItemFilter(without_categories=("a",)), [2, 3]),
        (ItemFilter(attributes={"brand": ()}), [0, 1, 2, 3]),
        (ItemFilter(categories=("a",), attributes={"category": ("b",)}), []),
        (ItemFilter(without_merchants=("m", "n")), []),
    ],
)
def test_a_filter_passes_what_meets_all_conditions(conditions, passing):
    assert np.flatnonzero(conditions.mask(ITEMS)).tolist() == passing


def test_a_filter_of_nothing_is_none_and_unknown_words_are_named():
    assert NO_FILTER.mask(ITEMS) is None
    with pytest.raises(UnknownWord, match=r"no item has the category 'aa'. Did you mean 'a'"):
        ItemFilter(categories=("aa",)).mask(ITEMS)
    with pytest.raises(UnknownWord, match=r"no attribute 'brnd'. Did you mean 'brand'"):
        ItemFilter(attributes={"brnd": ("x",)}).mask(ITEMS)
