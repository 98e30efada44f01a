"""Mapped features: what a data set's mapping names beside the standard columns, as inputs of its models.

A number, a word or a text of items, shoppers, requests or candidates is a feature under its own name, unless it cannot
tell anything. It is used as it was recorded: what was not known before the shopper answered is no feature.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.catalogue import known_of
from features.spec import Feature, FeatureSpec, Group, Kind, Source
from marketplace.dataset import Dataset
from marketplace.finding import FieldError
from marketplace.schema import TREATED, TREATED_CHANCE
from marketplace.slate_columns import RequestLists, each_list, item_offsets

TOKENS = 12  # words of a text
IDENTIFIER = 0.9  # distinct values over values: words above it name rows, and cannot be learned from
FEW = 20  # values: too few to call a column identifiers
GROUP_OF = {Source.ITEM: Group.ITEM, Source.SHOPPER: Group.USER, Source.REQUEST: Group.USER}


@dataclass(frozen=True)
class MappedFeatures:
    """The features, and why columns are none, by name."""

    features: tuple[Feature, ...] = ()
    unused: Mapping[str, str] = field(default_factory=dict)

    def added_to(self, standard: FeatureSpec) -> FeatureSpec:
        """A spec with the standard features, then these; FieldError for a name that both have."""
        taken = {feature.name for feature in standard.features}
        if clash := [feature.name for feature in self.features if feature.name in taken]:
            reason = f"further columns have the names {clash}, which standard features have (docs/features.md)"
            raise FieldError(reason, f"Choose others, such as {'shop_' + clash[0]!r}, or list them under `ignore`.")
        return FeatureSpec((*standard.features, *self.features))


def mapped_features(dataset: Dataset) -> MappedFeatures:
    """The features among the maps of a data set's items, users and slates."""
    features: dict[str, Feature] = {}
    left_out = {name: _choice(name, dataset) for name in dataset.context_features}
    unused = {name: reason for name, reason in left_out.items() if reason}
    for feature, values in mapped_columns(dataset):
        entry = feature.source is Source.REQUEST and feature.name in dataset.context_features
        if entry or feature.name in features or feature.name in unused:
            continue  # a service's log repeats what its context and its catalogue know
        if reason := _choice(feature.name, dataset) or _nothing_to_learn(values, text=feature.kind is Kind.CATEGORIES):
            unused[feature.name] = reason
        else:
            features[feature.name] = feature
    return MappedFeatures(tuple(features.values()), unused)


def context_entries(dataset: Dataset) -> tuple[str, ...]:
    """The entries of the request's context that models read; the mapping may leave some out."""
    return tuple(name for name in dataset.context_features if _choice(name, dataset) is None)


def _choice(name: str, dataset: Dataset) -> str | None:
    """Why the mapping itself leaves a column out."""
    if name in (TREATED, TREATED_CHANCE):
        return "it says who was treated"
    if name in dataset.ignored_features:
        return "named under `ignore`"
    if dataset.mapped_features is not None and name not in dataset.mapped_features:
        return "not named under `features`"
    return None


def mapped_columns(dataset: Dataset) -> Iterator[tuple[Feature, pa.Array]]:
    """Every column of the maps: as a feature, with its values."""
    for table, source in ((dataset.items, Source.ITEM), (dataset.users, Source.SHOPPER)):
        for name, values in known_of(table, "numeric").items():
            yield _feature(name, Kind.NUMBER, source), values
        for name, values in known_of(table, "attributes").items():
            yield _feature(name, Kind.CATEGORY, source), values
    for name, values in known_of(dataset.items, "text").items():
        yield _feature(name, Kind.CATEGORIES, Source.ITEM), values
    offsets = item_offsets(dataset.slates)
    for column, kind in (("numeric", Kind.NUMBER), ("categorical", Kind.CATEGORY)):
        for name, cells in each_list(dataset.slates, column):
            yield _feature(name, kind, _source(cells, offsets)), cells.values


def _source(cells: RequestLists, offsets: np.ndarray) -> Source:
    """Of the request where no list holds more than one value, although some slate has more items than one."""
    of_request = cells.lengths.max(initial=0) <= 1 and np.diff(offsets).max(initial=0) > 1
    return Source.REQUEST if of_request else Source.CANDIDATE


def _feature(name: str, kind: Kind, source: Source) -> Feature:
    group, meaning = GROUP_OF.get(source, Group.CROSS), f"of the {source}, from the mapping"
    if kind is Kind.CATEGORIES:
        return Feature(name, group, kind, meaning, vocabulary="token", length=TOKENS, source=source)
    return Feature(name, group, kind, meaning, source=source)


def _nothing_to_learn(values: pa.Array, *, text: bool) -> str | None:
    """Why a column is no use to a model; None where it may be of use. A NaN and an empty text are missing.

    Texts differ from row to row, as names do: of a `text` its words are counted, which recur where they tell something.
    """
    missing = pc.is_nan(values) if pa.types.is_floating(values.type) else pc.equal(values, "")
    known = values.filter(pc.invert(missing.fill_null(True)))
    if not len(known):
        return "empty in every row"
    least_and_most = pc.min_max(known).as_py()
    if least_and_most["min"] == least_and_most["max"] and len(known) == len(values):
        return "the same in every row"
    if pa.types.is_floating(values.type) or len(known) <= FEW:
        return None
    words = pc.list_flatten(pc.utf8_split_whitespace(known)) if text else known
    distinct = pc.count_distinct(words).as_py()
    if distinct > IDENTIFIER * len(words):
        return f"identifiers: {distinct:,} different words in {len(known):,} rows"
    return None
