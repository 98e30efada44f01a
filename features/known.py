"""What was known of requests and their rows, ready to be read as a frame, as logged features, or as model inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import formulas
from features.asof import NEVER
from features.catalogue import Catalogue
from features.encoder import EncodedItems, Encoder
from features.formulas import State
from features.spec import Feature, FeatureFrame, FeatureSpec, Group, Kind, ModelInputs

FORMULAS = {Group.USER: formulas.USER, Group.ITEM: formulas.ITEM, Group.CROSS: formulas.CROSS}
HISTORIES = {"history_items": "item_id", "history_categories": "category", "history_merchants": "merchant_id"}
REQUEST_TEXT = ("user_id", "surface", "page_merchant", "page_item", "user_country", "user_segment")


@dataclass(frozen=True, eq=False)
class Known:
    """R requests over N rows, before anything is encoded.

    `text[name]` are the request's own categories: string [R], or list<string> [R] for `query_tokens`. `history` int32
    [R, length]: catalogue rows last touched, oldest first, padded with -1 at the end.
    """

    spec: FeatureSpec
    catalogue: Catalogue
    state: State
    text: Mapping[str, pa.Array]
    history: np.ndarray

    def frame(self, keep: np.ndarray | None = None) -> FeatureFrame:
        """The raw features, of the rows `keep` (increasing positions) or of all; nothing is recomputed among them."""
        columns = {feature.name: self._column(feature, keep) for feature in self.spec.features}
        return FeatureFrame(self.spec, self._offsets(keep), columns)

    def numbers(self, group: Group) -> np.ndarray:
        """float32 [R or N, numbers of the group], in spec order."""
        columns = [self._number(feature) for feature in self.spec.select(group, Kind.NUMBER)]
        rows = len(self.state.time) if group is Group.USER else len(self.state.item)
        return np.stack(columns, axis=1) if columns else np.zeros((rows, 0), np.float32)

    def inputs(self, encoder: Encoder, items: EncodedItems) -> ModelInputs:
        """Model inputs without building a frame; rows must be of the catalogue that `items` encodes."""
        rows = self.state.item
        codes, lists = self._user_codes(encoder, items)
        return ModelInputs(
            user_codes=codes,
            user_lists=lists,
            user_numbers=self.numbers(Group.USER),
            item_codes=items.codes[rows],
            item_lists=items.lists[rows],
            item_numbers=self.numbers(Group.ITEM),
            cross_numbers=self.numbers(Group.CROSS),
            request=self.state.request.astype(np.int32),
        )

    def asked(self, encoder: Encoder, items: EncodedItems) -> ModelInputs:
        """The user group alone, encoded: what a query tower reads before there are candidates."""
        codes, lists = self._user_codes(encoder, items)
        return ModelInputs(
            user_codes=codes,
            user_lists=lists,
            user_numbers=self.numbers(Group.USER),
            item_codes=items.codes[:0],
            item_lists=items.lists[:0],
            item_numbers=np.zeros((0, len(self.spec.select(Group.ITEM, Kind.NUMBER))), np.float32),
            cross_numbers=np.zeros((0, len(self.spec.select(Group.CROSS, Kind.NUMBER))), np.float32),
            request=np.zeros(0, np.int32),
        )

    def _user_codes(self, encoder: Encoder, items: EncodedItems) -> tuple[np.ndarray, np.ndarray]:
        columns = [
            encoder.codes(feature, self.text[feature.name]) for feature in self.spec.select(Group.USER, Kind.CATEGORY)
        ]
        lists = []
        for feature in self.spec.select(Group.USER, Kind.CATEGORIES):
            if feature.name in HISTORIES:
                code = items.of(HISTORIES[feature.name])
                lists.append(np.where(self.history >= 0, code[self.history], 0)[:, : feature.length])
            else:
                lists.append(encoder.list_codes(feature, self.text[feature.name]))
        requests = len(self.state.time)
        empty = np.zeros((requests, 0), np.int32)
        return np.stack(columns, axis=1) if columns else empty, np.concatenate([empty, *lists], axis=1)

    @cached_property
    def _values(self) -> dict[str, np.ndarray]:
        return {}

    def _number(self, feature: Feature) -> np.ndarray:
        if feature.name not in self._values:
            value = FORMULAS[feature.group][feature.name](self.state)
            self._values[feature.name] = np.asarray(value).astype(np.float32)
        return self._values[feature.name]

    def _offsets(self, keep: np.ndarray | None) -> np.ndarray:
        if keep is None:
            return self.state.offsets
        return np.searchsorted(keep, self.state.offsets).astype(np.int64)

    def _column(self, feature: Feature, keep: np.ndarray | None) -> pa.Array:
        rowwise = feature.group is not Group.USER and keep is not None
        if feature.kind is Kind.NUMBER:
            values = self._number(feature)
            return pa.array(values[keep] if rowwise else values)
        if feature.group is Group.USER:
            return self._history(HISTORIES[feature.name]) if feature.name in HISTORIES else self.text[feature.name]
        return item_column(feature.name, self.catalogue, self.state.item[keep] if rowwise else self.state.item)

    def _history(self, name: str) -> pa.Array:
        touched = self.history >= 0
        offsets = pa.array(np.append(0, np.cumsum(touched.sum(axis=1))), pa.int32())
        values = item_column(name, self.catalogue, self.history[touched])
        return pa.ListArray.from_arrays(offsets, values.cast(pa.string()))


def context_features(spec: FeatureSpec) -> list[str]:
    """The user categories that are entries of the request's context, under the same name."""
    return [feature.name for feature in spec.select(Group.USER, Kind.CATEGORY) if feature.name not in REQUEST_TEXT]


def item_facts(item: np.ndarray, price: np.ndarray, catalogue: Catalogue) -> dict[str, Any]:
    """The state of N rows that the catalogue knows: `item` int32 rows (-1 = not in it), `price` as shown."""
    known = item >= 0
    return {
        "item": item,
        "price": price,
        "category": np.where(known, catalogue.category[item], -1),
        "merchant": np.where(known, catalogue.merchant[item], -1),
        "category_price": np.where(known, catalogue.category_price[item], np.nan),
        "launched": np.where(known, catalogue.launched[item], NEVER),
        "rates": {name: np.where(known, rate[item], np.nan) for name, rate in catalogue.rates.items()},
    }


def last_facts(history: np.ndarray, catalogue: Catalogue) -> dict[str, Any]:
    """The state of R requests that follows from the item touched last; `history` as in `Known`."""
    newest = np.maximum((history >= 0).sum(axis=1) - 1, 0)
    last = history[np.arange(len(history)), newest]
    known = last >= 0
    return {
        "last_item": last,
        "last_price": np.where(known, catalogue.price[last], np.nan),
        "last_category": np.where(known, catalogue.category[last], -1),
        "last_merchant": np.where(known, catalogue.merchant[last], -1),
    }


def catalogue_columns(catalogue: Catalogue, spec: FeatureSpec) -> dict[str, pa.Array]:
    """The categorical item features of every catalogue row, for `Encoder.encode_items`."""
    rows = np.arange(len(catalogue), dtype=np.int32)
    kinds = (Kind.CATEGORY, Kind.CATEGORIES)
    names = [feature.name for kind in kinds for feature in spec.select(Group.ITEM, kind)]
    return {name: item_column(name, catalogue, rows) for name in names}


def item_column(name: str, catalogue: Catalogue, rows: np.ndarray) -> pa.Array:
    """A categorical item feature of catalogue rows, missing for row -1; dictionary, or list<string> for words."""
    missing = rows < 0
    if name == "item_id":
        return _dictionary(rows, catalogue.item_id, missing)
    if name == "category":
        return _dictionary(catalogue.category[rows], catalogue.category_names, missing)
    if name == "merchant_id":
        return _dictionary(catalogue.merchant[rows], catalogue.merchant_names, missing)
    if name == "name_tokens":
        words = catalogue.tokens.take(pa.array(rows, mask=missing))
        return pc.if_else(pc.is_null(words), pa.scalar([], words.type), words) if missing.any() else words
    raise KeyError(f"feature {name!r}: no item column of that name; the catalogue gives item_id, category, ...")


def _dictionary(codes: np.ndarray, names: pa.Array, missing: np.ndarray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=missing), names)
