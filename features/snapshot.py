"""What was known of requests and their rows, ready to be read as a frame, as logged features, or as model inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import formulas
from features.asof import NEVER
from features.catalogue import Catalogue
from features.encoder import EncodedItems, Encoder
from features.formulas import FeatureState
from features.spec import Feature, FeatureFrame, FeatureSpec, Group, Kind, ModelInputs

FORMULAS = {Group.USER: formulas.USER, Group.ITEM: formulas.ITEM, Group.CROSS: formulas.CROSS}
HISTORIES = {"history_items": "item_id", "history_categories": "category", "history_merchants": "merchant_id"}
WORDS = pa.list_(pa.string())
REQUEST_TEXT = ("user_id", "surface", "page_merchant", "page_item", "user_country", "user_segment")


class RequestText(Mapping[str, pa.Array]):
    """The text of a single request: Python values in `plain`, as Arrow arrays of one entry where somebody asks."""

    def __init__(self, plain: Mapping[str, str | list[str] | None]) -> None:
        self.plain = plain

    def __getitem__(self, name: str) -> pa.Array:
        value = self.plain[name]
        return pa.array([value], WORDS if isinstance(value, list) else pa.string())

    def __iter__(self) -> Iterator[str]:
        return iter(self.plain)

    def __len__(self) -> int:
        return len(self.plain)


@dataclass(frozen=True, eq=False)
class FeatureSnapshot:
    """R requests over N rows, before anything is encoded.

    `text[name]` are the request's own categories: string [R], or list<string> [R] for `query_tokens`. `history` int32
    [R, length]: catalogue rows last touched, oldest first, padded with -1 at the end.
    """

    spec: FeatureSpec
    catalogue: Catalogue
    state: FeatureState
    text: Mapping[str, pa.Array]
    history: np.ndarray

    def frame(self, keep: np.ndarray | None = None) -> FeatureFrame:
        """The raw features, of the rows `keep` (increasing positions) or of all; nothing is recomputed among them."""
        columns = {feature.name: self._column(feature, keep) for feature in self.spec.features}
        return FeatureFrame(self.spec, self._offsets(keep), columns)

    def numbers(self, group: Group) -> np.ndarray:
        """float32 [R or N, numbers of the group], in spec order."""
        features = self.spec.select(group, Kind.NUMBER)
        rows = len(self.state.time) if group is Group.USER else len(self.state.item)
        packed = np.empty((rows, len(features)), np.float32)
        for column, feature in enumerate(features):
            packed[:, column] = self._number(feature)
        return packed

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

    def user_inputs(self, encoder: Encoder, items: EncodedItems) -> ModelInputs:
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

    def user_value(self, name: str) -> str | list[str] | None:
        """The first request's own category, or words, `name`; None where it is missing or unknown."""
        if isinstance(self.text, RequestText):
            return self.text.plain.get(name)
        return self.text[name][0].as_py() if name in self.text else None

    def _user_codes(self, encoder: Encoder, items: EncodedItems) -> tuple[np.ndarray, np.ndarray]:
        codes, requests = [], len(self.state.time)
        for feature in self.spec.select(Group.USER, Kind.CATEGORY):
            codes.append(self._own_codes(feature, encoder))
        lists = [np.zeros((requests, 0), np.int32)]
        for feature in self.spec.select(Group.USER, Kind.CATEGORIES):
            if feature.name in HISTORIES:
                code = items.of(HISTORIES[feature.name])
                lists.append(np.where(self.history >= 0, code[self.history], 0)[:, : feature.length])
            else:
                lists.append(self._own_codes(feature, encoder))
        return np.stack(codes, axis=1) if codes else lists[0], np.concatenate(lists, axis=1)

    def _own_codes(self, feature: Feature, encoder: Encoder) -> np.ndarray:
        """int32 [R] or [R, length]; one request's text is looked up word by word, without making Arrow arrays of it."""
        if not isinstance(self.text, RequestText):
            encode = encoder.codes if feature.kind is Kind.CATEGORY else encoder.list_codes
            return encode(feature, self.text[feature.name])
        value = self.text.plain[feature.name]
        code = encoder.row(feature, value) if isinstance(value, list) else encoder.code(feature, value)
        return np.array([code], np.int32)

    @cached_property
    def _values(self) -> dict[str, np.ndarray]:
        return {}

    def _number(self, feature: Feature) -> np.ndarray:
        if feature.name not in self._values:
            self._values[feature.name] = np.asarray(FORMULAS[feature.group][feature.name](self.state))
        return self._values[feature.name]

    def _offsets(self, keep: np.ndarray | None) -> np.ndarray:
        if keep is None:
            return self.state.offsets
        return np.searchsorted(keep, self.state.offsets).astype(np.int64)

    def _column(self, feature: Feature, keep: np.ndarray | None) -> pa.Array:
        rowwise = feature.group is not Group.USER and keep is not None
        if feature.kind is Kind.NUMBER:
            values = self._number(feature).astype(np.float32)
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
    every = bool(known.all())

    def read(values: np.ndarray, missing: float) -> np.ndarray:
        return values[item] if every else np.where(known, values[item], missing)

    return {
        "item": item,
        "price": price,
        "category": read(catalogue.category, -1),
        "merchant": read(catalogue.merchant, -1),
        "category_price": read(catalogue.category_price, np.nan),
        "launched": read(catalogue.launched, NEVER),
        "rates": LazyColumns({name: partial(read, rate, np.nan) for name, rate in catalogue.rates.items()}),
    }


class LazyColumns(Mapping[str, np.ndarray]):
    """Columns that are read when somebody asks: a request whose item numbers are kept never does."""

    def __init__(self, reading: Mapping[str, Callable[[], np.ndarray]]) -> None:
        self._reading = reading

    def __getitem__(self, name: str) -> np.ndarray:
        return self._reading[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._reading)

    def __len__(self) -> int:
        return len(self._reading)


def last_facts(history: np.ndarray, catalogue: Catalogue) -> dict[str, Any]:
    """The state of R requests that follows from the item touched last; `history` as in `FeatureSnapshot`."""
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


def item_numbers(catalogue: Catalogue, spec: FeatureSpec) -> np.ndarray:
    """float32 [n, item numbers]: the item numbers of every catalogue row, at the catalogue's price."""
    rows = np.arange(len(catalogue), dtype=np.int32)
    facts = SimpleNamespace(**item_facts(rows, catalogue.price, catalogue))
    features = spec.select(Group.ITEM, Kind.NUMBER)
    packed = np.empty((len(rows), len(features)), np.float32)
    for column, feature in enumerate(features):
        packed[:, column] = formulas.ITEM[feature.name](facts)  # type: ignore[arg-type]
    return packed


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
