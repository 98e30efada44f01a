"""The features of any market: which rows of `features.derived` and of the statistics are in a spec.

Features of a list (price rank, where earlier lists put the item, what the visit touched) are left out by default:
training lists are the items shown, serving lists are the hundreds of candidates retrieved, and a rank among 20 is not
a rank among 500. They belong to rankers of a caller's own list (`/v1/rank`), whose lists are of one kind.
"""

from __future__ import annotations

from collections.abc import Iterable

from features import derived, lexical_features
from features.spec import Feature, FeatureSpec, Group, Kind, category
from features.state import Definition, Formula, Part
from features.statistics import (
    ITEM_STATISTICS,
    LIST_STATISTICS,
    PAGE_STATISTICS,
    STATISTICS,
    USER_STATISTICS,
    Statistic,
)

CONTEXT = ("country", "city", "device")
GROUPS, KINDS = tuple(Group), (Kind.CATEGORY, Kind.CATEGORIES, Kind.NUMBER)  # the order in a spec


def _of(statistics: Iterable[type[Statistic]]) -> tuple[Definition, ...]:
    return tuple(definition for statistic in statistics for definition in statistic.definitions)


DEFINITIONS = (
    *derived.REQUEST,
    *_of(ITEM_STATISTICS),
    *derived.ITEM,
    *_of(USER_STATISTICS),
    *_of(PAGE_STATISTICS),
    *lexical_features.DEFINITIONS,
    *derived.LIST,
    *_of(LIST_STATISTICS),
)
FORMULAS: dict[str, Formula] = {row.feature.name: row.formula for row in DEFINITIONS if row.formula is not None}


def standard_spec(
    *,
    context: tuple[str, ...] = CONTEXT,
    impressions: bool = True,
    text: bool = True,
    product_pages: bool = False,
    sequence: bool = False,
    against_list: bool = False,
    extra: tuple[str, ...] = (),
) -> FeatureSpec:
    """The features of a market.

    `context`: which entries of the request's context to use. `impressions`: whether lists were recorded (else click
    and impression statistics are left out). `text`: name and query words. `product_pages`: likeness to the page's
    item. `sequence`: further columns of the history. `against_list`: comparisons within the list. `extra`: names of
    further features (Part.EXTRA). Raises ValueError for a name that is none of these.
    """
    optional = {row.feature.name for row in DEFINITIONS if row.part is Part.EXTRA}
    if unknown := set(extra) - optional:
        raise ValueError(f"no extra features {sorted(unknown)}; there are {sorted(optional)}.")
    parts = {Part.ALWAYS: True, Part.TEXT: text, Part.IMPRESSIONS: impressions}
    parts |= {Part.PRODUCT_PAGES: product_pages, Part.SEQUENCE: sequence, Part.AGAINST_LIST: against_list}
    chosen = [row.feature for row in DEFINITIONS if parts.get(row.part, row.feature.name in extra)]
    entries = [category(Group.USER, name, f"{name} of the request's context") for name in context]
    at = next(i for i, feature in enumerate(chosen) if feature.name == "page_merchant")
    return FeatureSpec(tuple(sorted([*chosen[:at], *entries, *chosen[at:]], key=place)))


def with_extra(spec: FeatureSpec, names: tuple[str, ...]) -> FeatureSpec:
    """The spec with features of Part.EXTRA, at the places that `standard_spec` gives them; ValueError for others."""
    order = {row.feature.name: number for number, row in enumerate(DEFINITIONS)}
    standard_spec(extra=names)
    features = list(spec.features)
    known = {feature.name for feature in features}
    for row in DEFINITIONS:
        new = row.feature
        if new.name in names and new.name not in known:
            at = place(new), order[new.name]
            ahead = [(place(one), order.get(one.name, len(order))) < at for one in features]
            features.insert(len(features) - [*ahead[::-1], True].index(True), new)
    return FeatureSpec(tuple(features))


def statistics_of(spec: FeatureSpec) -> tuple[type[Statistic], ...]:
    """The statistics that a spec needs: all but the optional ones of which it has no feature."""
    names = {feature.name for feature in spec.features}
    return tuple(row for row in STATISTICS if not row.optional or any(d.feature.name in names for d in row.definitions))


def place(feature: Feature) -> tuple[int, int]:
    """The order of features in a spec: by group, then kind, then as defined."""
    return GROUPS.index(feature.group), KINDS.index(feature.kind)
