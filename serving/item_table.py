"""The catalogue as the engine reads it: arrays over its n rows, so that candidates cost one take each.

Rows are written in place as items change or begin, between two requests (`serving.live_catalogue`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.catalogue import Catalogue
from features.encoder import EncodedItems, Encoder
from features.item_columns import catalogue_columns
from features.snapshot import item_numbers
from retrieval.item_filter import FilterColumns


@dataclass(frozen=True, eq=False)
class ItemTable:
    """`row` of each item id; text columns are object arrays [n]; `logged` = the item categories as the log has them."""

    row: Mapping[str, int]  # the catalogue's: items that begin are in it
    item_id: np.ndarray
    merchant_id: np.ndarray
    merchant: np.ndarray  # int32 codes
    merchant_code: dict[str, int]
    category: np.ndarray  # int32 codes
    attributes: Mapping[str, np.ndarray]  # int32 codes of these two and all others of the catalogue; -1 = not known
    code: Mapping[str, dict[str, int]]  # the code of each word of those
    price: np.ndarray  # float64, currency
    encoded: EncodedItems
    numbers: np.ndarray  # float32 [n, item numbers]
    logged: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, catalogue: Catalogue, *, encoder: Encoder) -> ItemTable:
        columns = catalogue_columns(catalogue, encoder.spec)
        item_id = _texts(catalogue.item_id)
        merchant_id = _texts(catalogue.merchant_names)[catalogue.merchant]
        known = {"item_id": item_id, "merchant_id": merchant_id}  # the same objects twice, so that each is read once
        codes = {name: _numbered(words) for name, words in words_of(catalogue).items()}
        return cls(
            row=catalogue.row,
            item_id=item_id,
            merchant_id=merchant_id,
            merchant=catalogue.merchant,
            merchant_code=codes["merchant"],
            category=catalogue.category,
            attributes={**_codes(catalogue.attributes), "merchant": catalogue.merchant, "category": catalogue.category},
            code=codes,
            price=np.asarray(catalogue.price, np.float64),
            encoded=encoder.encode_items(columns),
            numbers=item_numbers(catalogue, encoder.spec),
            logged={name: known[name] if name in known else _as_logged(column) for name, column in columns.items()},
        )

    @property
    def filter_columns(self) -> FilterColumns:
        """What item filters read."""
        return FilterColumns(self.attributes, self.code, self.price)

    def __len__(self) -> int:
        return len(self.item_id)

    def write(self, rows: np.ndarray, items: ItemTable) -> None:
        """Rows become the `items`; their words are coded as here, and a new word takes the next code."""
        for column, values in self._columns(items):
            column[rows] = values
        for name, column in self.attributes.items():
            column[rows] = self.coded(name, items)

    def coded(self, attribute: str, items: ItemTable) -> np.ndarray:
        """int32 [m]: the codes that this table gives to an attribute's words of `items`."""
        if attribute not in items.code:
            return np.full(len(items), -1, np.int32)
        known = self.code[attribute]
        code = np.array([known.setdefault(word, len(known)) for word in items.code[attribute]] + [-1], np.int32)
        return code[items.attributes[attribute]]

    def _columns(self, items: ItemTable) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Every column that is not coded here, with that of `items`."""
        for name in ("item_id", "merchant_id", "price", "numbers"):
            yield getattr(self, name), getattr(items, name)
        yield self.encoded.codes, items.encoded.codes
        yield self.encoded.lists, items.encoded.lists
        for name, column in self.logged.items():
            yield column, items.logged[name]

    def rows(self, item_ids: Iterable[str]) -> np.ndarray:
        """int32 rows of those items that are in the catalogue, in the order given."""
        rows = (self.row.get(name, -1) for name in item_ids)
        return np.fromiter((row for row in rows if row >= 0), np.int32)

    def places(self, item_ids: Iterable[str]) -> np.ndarray:
        """int64: the places in `item_ids` of those items that are in the catalogue."""
        return np.flatnonzero([name in self.row for name in item_ids])


def words_of(catalogue: Catalogue) -> dict[str, pa.Array]:
    """The words of merchant, category and every attribute, in the order of their codes."""
    attributes = {name: words.dictionary for name, words in catalogue.attributes.items()}
    return {**attributes, "merchant": catalogue.merchant_names, "category": catalogue.category_names}


def _numbered(words: pa.Array) -> dict[str, int]:
    return {word: code for code, word in enumerate(words.to_pylist())}


def _codes(columns: Mapping[str, pa.DictionaryArray]) -> dict[str, np.ndarray]:
    return {name: words.indices.fill_null(-1).to_numpy().copy() for name, words in columns.items()}


def _as_logged(column: pa.Array) -> np.ndarray:
    if pa.types.is_list(column.type):
        return _texts(pc.binary_join(column, " ").fill_null(""))
    return _texts(column.cast(pa.string()))


def _texts(column: pa.Array) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False).astype(object)
