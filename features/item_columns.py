"""What the catalogue knows of rows of items: facts for the formulas, and categorical features as columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.asof import NEVER
from features.catalogue import Catalogue
from features.spec import FeatureSpec, Group, Kind


def item_facts(item: np.ndarray, price: np.ndarray, catalogue: Catalogue) -> dict[str, Any]:
    """The state of N rows that the catalogue knows: `item` int32 rows (-1 = not in it), `price` as shown."""
    known = item >= 0
    every = bool(known.all())

    def read(values: np.ndarray, missing: float) -> np.ndarray:
        return values.take(item) if every else np.where(known, values[item], missing)

    return {
        "item": item,
        "price": price,
        "category": read(catalogue.category, -1),
        "merchant": read(catalogue.merchant, -1),
        "category_price": read(catalogue.category_price, np.nan),
        "launched": read(catalogue.launched, NEVER),
        "number": read(catalogue.number, np.nan),
        "rates": LazyColumns({name: partial(read, rate, np.nan) for name, rate in catalogue.rates.items()}),
        "of_item": LazyColumns({name: partial(read, values, np.nan) for name, values in catalogue.numeric.items()}),
    }


class LazyColumns(Mapping[str, np.ndarray]):
    """Lazy columns: each is read when it is looked up, so that a request whose item numbers are cached reads none."""

    def __init__(self, reading: Mapping[str, Callable[[], np.ndarray]]) -> None:
        self._reading = reading

    def __getitem__(self, name: str) -> np.ndarray:
        return self._reading[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._reading)

    def __len__(self) -> int:
        return len(self._reading)


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
        return _words(catalogue.tokens, rows, missing)
    if name in catalogue.text:
        return _words(catalogue.text_tokens[name], rows, missing)
    if name in catalogue.attributes:
        return catalogue.attributes[name].take(pa.array(rows, mask=missing))
    raise KeyError(f"feature {name!r}: no item column of that name; the catalogue gives item_id, category, ...")


def _words(tokens: pa.Array, rows: np.ndarray, missing: np.ndarray) -> pa.Array:
    words = tokens.take(pa.array(rows, mask=missing))
    return pc.if_else(pc.is_null(words), pa.scalar([], words.type), words) if missing.any() else words


def _dictionary(codes: np.ndarray, names: pa.Array, missing: np.ndarray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=missing), names)
