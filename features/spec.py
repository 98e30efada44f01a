"""Feature definitions, and the two shapes in which features travel: raw columns and packed model inputs.

Conventions: R requests own N rows (items in slates); request r owns rows offsets[r]:offsets[r+1]. Three groups:
`user` (user and context, one value a request), `item` (one value a row that depends on the item alone, so that it
can be computed once an item), `cross` (one number or category a row that may depend on both).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

HISTORY = 20  # items


class Group(StrEnum):
    """What a feature depends on."""

    USER = "user"
    ITEM = "item"
    CROSS = "cross"


class Kind(StrEnum):
    """How a feature is encoded: one category, one number, or a list of categories (history, name tokens)."""

    CATEGORY = "category"
    NUMBER = "number"
    CATEGORIES = "categories"


class Source(StrEnum):
    """Where a feature's value comes from: the house's definitions, or a column that the data set's mapping names."""

    STANDARD = "standard"
    ITEM = "item"  # of the catalogue
    SHOPPER = "shopper"  # of the table of shoppers
    REQUEST = "request"  # sent with the request
    CANDIDATE = "candidate"  # sent with each candidate


@dataclass(frozen=True)
class Feature:
    """One named input; features that share a `vocabulary` share their embedding table."""

    name: str
    group: Group
    kind: Kind
    meaning: str
    vocabulary: str | None = None
    length: int = 1  # the longest list kept, for Kind.CATEGORIES
    log_scale: bool = False  # a heavy-tailed non-negative number: the model sees log1p of it
    source: Source = Source.STANDARD

    @property
    def table(self) -> str:
        """The vocabulary, and embedding table, of a category: the one it shares, or one of its own name."""
        return self.vocabulary or self.name


def category(group: Group, name: str, meaning: str, *, vocabulary: str | None = None) -> Feature:
    return Feature(name, group, Kind.CATEGORY, meaning, vocabulary)


def categories(group: Group, name: str, meaning: str, *, vocabulary: str, length: int = HISTORY) -> Feature:
    return Feature(name, group, Kind.CATEGORIES, meaning, vocabulary, length)


def number(group: Group, name: str, meaning: str) -> Feature:
    return Feature(name, group, Kind.NUMBER, meaning)


def count(group: Group, name: str, meaning: str) -> Feature:
    """A heavy-tailed number: the model sees its log1p."""
    return Feature(name, group, Kind.NUMBER, meaning, log_scale=True)


@dataclass(frozen=True)
class FeatureSpec:
    """The ordered features of one model; `version` is the hash of their definitions."""

    features: tuple[Feature, ...]

    @property
    def version(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def to_json(self) -> str:
        return json.dumps([_row(feature) for feature in self.features], indent=1)

    @classmethod
    def from_json(cls, text: str) -> FeatureSpec:
        rows = json.loads(text)
        return cls(tuple(_feature(row) for row in rows))

    def select(self, group: Group, kind: Kind) -> tuple[Feature, ...]:
        """The features of one group and kind, in order."""
        return self._selected.get((group, kind), ())

    def mapped(self, *sources: Source) -> tuple[Feature, ...]:
        """The features from `sources`, in order; without any, those from every column of a mapping."""
        chosen = sources or tuple(source for source in Source if source is not Source.STANDARD)
        return tuple(feature for feature in self.features if feature.source in chosen)

    @cached_property
    def _selected(self) -> dict[tuple[Group, Kind], tuple[Feature, ...]]:
        selected: dict[tuple[Group, Kind], tuple[Feature, ...]] = {}
        for feature in self.features:
            key = feature.group, feature.kind
            selected[key] = (*selected.get(key, ()), feature)
        return selected


def _row(feature: Feature) -> dict[str, object]:
    """A definition as JSON has it; a standard feature does not name its source."""
    row = asdict(feature)
    if feature.source is Source.STANDARD:
        del row["source"]
    return row


def _feature(row: Mapping[str, Any]) -> Feature:
    parsed = {"group": Group(row["group"]), "kind": Kind(row["kind"]), "source": Source(row.get("source", "standard"))}
    return Feature(**{**row, **parsed})


@dataclass(frozen=True)
class FeatureFrame:
    """Raw features of R requests over N rows, as they are logged.

    `columns[name]` is an Arrow array: categories string or dictionary, numbers float32, lists list<string>;
    of length R in the user group, N in the item and cross groups.
    """

    spec: FeatureSpec
    offsets: np.ndarray  # int64 [R + 1]
    columns: Mapping[str, pa.Array]

    @property
    def request(self) -> np.ndarray:
        """int64 [N]: the request that each row belongs to."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


@dataclass(frozen=True)
class ModelInputs:
    """Packed, encoded inputs: what a ranker takes, in training and in serving.

    Codes: 0 = padding or missing, 1 = not in the vocabulary, 2.. = known. `_codes` of list features are
    concatenated in spec order, each padded to its length. NaN numbers mean missing.
    """

    user_codes: np.ndarray  # int32 [R, user categories]
    user_lists: np.ndarray  # int32 [R, sum of list lengths]
    user_numbers: np.ndarray  # float32 [R, user numbers]
    item_codes: np.ndarray  # int32 [N, item categories]
    item_lists: np.ndarray  # int32 [N, sum of list lengths]
    item_numbers: np.ndarray  # float32 [N, item numbers]
    cross_codes: np.ndarray  # int32 [N, cross categories]
    cross_numbers: np.ndarray  # float32 [N, cross numbers]
    request: np.ndarray  # int32 [N]: row -> request

    def numbers(self, spec: FeatureSpec, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """float32 [N] each: the numbers of `spec`, or those in `names`; a request's own stand at each of its rows."""
        columns = {}
        for group, packed in zip(Group, (self.user_numbers, self.item_numbers, self.cross_numbers), strict=True):
            for column, feature in enumerate(spec.select(group, Kind.NUMBER)):
                if names is None or feature.name in names:
                    values = packed[:, column]
                    columns[feature.name] = values[self.request] if group is Group.USER else values
        return columns
