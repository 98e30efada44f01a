"""Sent features: mapped columns of requests and candidates, and of shoppers, as they stood at each request.

Conventions: R requests, N rows. A slate's maps hold them: a request's as a list of one value, a candidate's as one
value a row; what a request did not send is missing (NaN, null).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from features.catalogue import as_numbers, known_of
from features.spec import Feature, FeatureSpec, Kind, Source
from marketplace.keys import values_of
from marketplace.slate_columns import RequestLists, all_lists, item_offsets


def sent_numbers(slates: pa.Table, *, users: pa.Table, spec: FeatureSpec) -> dict[str, np.ndarray]:
    """float32 by feature name, of SLATE rows: [R] of shoppers and requests, [N] of candidates."""
    values = _values(slates, "numeric", known_of(users, "numeric"), users, spec, Kind.NUMBER)
    return {name: as_numbers(column) for name, column in values.items()}


def sent_words(slates: pa.Table, *, users: pa.Table, spec: FeatureSpec) -> dict[str, pa.Array]:
    """string by feature name, of SLATE rows: [R] of shoppers and requests, [N] of candidates."""
    return _values(slates, "categorical", known_of(users, "attributes"), users, spec, Kind.CATEGORY)


def _values(
    slates: pa.Table, column: str, of_users: Mapping[str, pa.Array], users: pa.Table, spec: FeatureSpec, kind: Kind
) -> dict[str, pa.Array]:
    features = [f for f in spec.mapped(Source.SHOPPER, Source.REQUEST, Source.CANDIDATE) if f.kind is kind]
    if not features:
        return {}
    offsets, logged = item_offsets(slates), all_lists(slates, column)
    missing = RequestLists(np.zeros(len(offsets), np.int64), pa.nulls(0, pa.float32() if column == "numeric" else None))
    values = {}
    for feature in features:
        cells = logged.get(feature.name, missing)
        if feature.source is Source.SHOPPER:
            values[feature.name] = values_of(slates["user_id"], users["user_id"], of_users[feature.name])
        elif feature.source is Source.REQUEST:
            values[feature.name] = _taken(cells.values, np.where(cells.lengths > 0, cells.offsets[:-1], -1))
        else:
            values[feature.name] = _by_row(cells, offsets)
    return {name: column if kind is Kind.NUMBER else column.cast(pa.string()) for name, column in values.items()}


def _by_row(cells: RequestLists, offsets: np.ndarray) -> pa.Array:
    """[N]: the lists that have one value a row; missing in requests whose list has another length."""
    if np.array_equal(cells.offsets, offsets):
        return cells.values
    length = np.diff(offsets)
    request = np.repeat(np.arange(len(length)), length)
    place = cells.offsets[:-1][request] + np.arange(offsets[-1]) - offsets[:-1][request]
    return _taken(cells.values, np.where((cells.lengths == length)[request], place, -1))


def _taken(values: pa.Array, places: np.ndarray) -> pa.Array:
    return values.take(pa.array(places, mask=places < 0))


class MappedShoppers:
    """Mapped columns of the table of shoppers, one shopper at a time."""

    def __init__(self, users: pa.Table, spec: FeatureSpec) -> None:
        features = spec.mapped(Source.SHOPPER)
        numbers, words = known_of(users, "numeric"), known_of(users, "attributes")
        self._row = {name: row for row, name in enumerate(users["user_id"].to_pylist())} if features else {}
        self._numbers = {f.name: as_numbers(numbers[f.name]) for f in features if f.kind is Kind.NUMBER}
        self._words = {f.name: words[f.name] for f in features if f.kind is Kind.CATEGORY}

    def numbers(self, user_id: str) -> dict[str, np.ndarray]:
        """float32 [1] by feature name."""
        row = self._row.get(user_id)
        unknown = np.full(1, np.nan, np.float32)
        return {name: unknown if row is None else column[row : row + 1] for name, column in self._numbers.items()}

    def words(self, user_id: str) -> dict[str, str | None]:
        row = self._row.get(user_id)
        return {name: None if row is None else column[row].as_py() for name, column in self._words.items()}


def request_number(feature: Feature, sent: Mapping[str, np.ndarray]) -> np.ndarray:
    """float32 [1] of one request's own."""
    values = sent.get(feature.name)
    return np.full(1, np.nan, np.float32) if values is None else values[:1].astype(np.float32)


def request_word(feature: Feature, sent: Mapping[str, np.ndarray]) -> str | None:
    """One request's own."""
    values = sent.get(feature.name)
    return None if values is None or not len(values) else values[0]


def candidate_numbers(feature: Feature, sent: Mapping[str, np.ndarray], *, rows: int) -> np.ndarray:
    """float32 [rows] of one request's candidates."""
    values = sent.get(feature.name)
    return np.full(rows, np.nan, np.float32) if values is None or not rows else values.astype(np.float32)


def candidate_words(feature: Feature, sent: Mapping[str, np.ndarray], *, rows: int) -> pa.Array:
    """string [rows] of one request's candidates."""
    values = sent.get(feature.name)
    return pa.nulls(rows, pa.string()) if values is None or not rows else pa.array(values, pa.string())
