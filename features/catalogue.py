"""The catalogue as arrays: what is known of every item whoever asks; a catalogue row is a row of `Dataset.items`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.text.documents import Document
from features.text.lexical_index import LexicalIndex
from features.text.normal_form import tokenise
from features.text.word_vectors import WordVectors
from marketplace import slate_columns
from marketplace.dataset import Dataset
from marketplace.first_seen import begun
from marketplace.keys import one_array, rows_of
from marketplace.splits import microseconds

FEW = 10_000  # ids
RATES = ("commission_rate", "quality", "return_rate", "refusal_rate")


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Columns over n items. Row -1 stands for an item that is not in the catalogue.

    `category` and `merchant` are int32 codes into their names; `price` in the data's currency, `margin` a share of it,
    `category_price` the mean price of the item's category; `launched` is UTC microseconds, the smallest int64 where
    unknown, `begun` the same or when the item was first seen; `number` the one that the item's id is, in a shop that
    numbers its items; `rates[name]` are the merchant's. NaN = unknown. Rows
    without an item, of item_id "", are room for new ones: `write` moves the numbers and codes of rows, which is what a
    service reads; names, words and text stay.
    """

    item_id: pa.Array  # string [n]
    category: np.ndarray
    merchant: np.ndarray
    category_names: pa.Array
    merchant_names: pa.Array
    price: np.ndarray
    category_price: np.ndarray
    margin: np.ndarray
    launched: np.ndarray
    begun: np.ndarray
    number: np.ndarray
    rates: dict[str, np.ndarray]
    names: pa.Array  # string [n]
    attributes: dict[str, pa.DictionaryArray]  # words [n] of what else is known of the items, by name
    numeric: dict[str, np.ndarray]  # float32 [n]
    text: dict[str, pa.Array]  # string [n]
    saved_index: LexicalIndex | None = None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        *,
        lexical_index: LexicalIndex | None = None,
        mean_price: Mapping[str, float] | None = None,
    ) -> Catalogue:
        """The catalogue of a data set; `lexical_index` None = made from its items when it is first needed.

        `mean_price` by category (NaN for others) stands in for that of its own items.
        """
        items = dataset.items
        category, category_names = _codes(items["category"])
        merchant, merchant_names = _codes(items["merchant_id"])
        row = rows_of(merchant_names, dataset.merchants["merchant_id"])
        rates = {name: _looked_up(dataset.merchants[name], row)[merchant] for name in RATES}
        price = one_array(items["price"]).to_numpy().copy()
        mean = category_means(category, price, len(category_names))
        if mean_price is not None:
            mean = np.array([mean_price.get(name, np.nan) for name in category_names.to_pylist()])
        return cls(
            item_id=one_array(items["item_id"]),
            category=category,
            merchant=merchant,
            category_names=category_names,
            merchant_names=merchant_names,
            price=price,
            category_price=mean[category],
            margin=one_array(items["margin"]).to_numpy(zero_copy_only=False).copy(),
            launched=microseconds(items["available_from"]).copy(),
            begun=begun(items),
            number=_numbers(one_array(items["item_id"])),
            rates=rates,
            names=one_array(items["name"]),
            attributes={name: words.dictionary_encode() for name, words in known_of(items, "attributes").items()},
            numeric={name: as_numbers(values) for name, values in known_of(items, "numeric").items()},
            text=known_of(items, "text"),
            saved_index=lexical_index,
        )

    def __len__(self) -> int:
        return len(self.item_id)

    def rows(self, item_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """int32 rows of the items, -1 where unknown."""
        if len(item_ids) <= FEW:  # Arrow hashes the whole catalogue at each call; a few go through a table that is kept
            return np.fromiter((self.row.get(name, -1) for name in item_ids.to_pylist()), np.int32, len(item_ids))
        rows = rows_of(item_ids, self.item_id).astype(np.int32)
        others = np.flatnonzero(rows < 0)  # what began since, or is not here
        names = item_ids.take(pa.array(others)).to_pylist()
        rows[others] = [self.row.get(name, -1) for name in names]
        return rows

    @cached_property
    def begun_with(self) -> int:
        """Items that the catalogue began with: its first rows, before the room for new ones."""
        return sum(map(bool, self.item_id.to_pylist()))

    @cached_property
    def row(self) -> dict[str, int]:
        """Row by item id."""
        return {name: row for row, name in enumerate(self.item_id.to_pylist()) if name}

    def category_of(self, item_id: str | None) -> str | None:
        """The category of an item, None where either is unknown."""
        code = -1 if item_id not in self.row else int(self.category[self.row[item_id]])
        name: str | None = None if code < 0 else self.category_names[code].as_py()
        return name

    def write(self, rows: np.ndarray, items: Catalogue, *, category: np.ndarray, merchant: np.ndarray) -> None:
        """Rows become the `items`, whose codes in this catalogue are `category` and `merchant`."""
        for name in ("price", "category_price", "margin", "launched", "begun", "number"):
            getattr(self, name)[rows] = getattr(items, name)
        self.category[rows], self.merchant[rows] = category, merchant
        for columns, values in ((self.rates, items.rates), (self.numeric, items.numeric)):
            for name, column in columns.items():
                column[rows] = values.get(name, np.nan)
        self.row.update(zip(items.item_id.to_pylist(), rows.tolist(), strict=True))

    @cached_property
    def lexical_index(self) -> LexicalIndex:
        """What answers a search by words: name, category, attributes and further text."""
        return self.saved_index or LexicalIndex.of(self.documents())

    def documents(self) -> list[Document]:
        """What a search reads of each item, by row."""
        category = self.category_names.take(pa.array(self.category)).to_pylist()
        attributes = {name: words.to_pylist() for name, words in self.attributes.items()}
        text = [column.to_pylist() for column in self.text.values()]
        return [
            Document.of(
                name,
                groups=[("category", category[row])]
                + [(kind, labels[row]) for kind, labels in attributes.items() if labels[row]],
                text=[column[row] for column in text],
            )
            for row, name in enumerate(self.names.to_pylist()[: len(self.row)])
        ]

    @cached_property
    def tokens(self) -> pa.Array:
        """list<string> [n]: the words of the item's name."""
        return tokenise(self.names)

    @cached_property
    def word_vectors(self) -> WordVectors:
        """The words of the items' names; room for new items does not count."""
        return WordVectors.of(self.tokens, names=self.begun_with)

    def shared_attributes(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """float64 [m]: the share of `one`'s known attributes that `other` has too; 0 where none is known."""
        shared, known = np.zeros(len(one)), np.zeros(len(one))
        for codes in self.attribute_codes.values():
            known += codes[one] >= 0
            shared += (codes[one] >= 0) & (codes[one] == codes[other])
        return shared / np.maximum(known, 1)

    @cached_property
    def attribute_codes(self) -> dict[str, np.ndarray]:
        """int32 [n] codes of each attribute's words, -1 where not known."""
        return {name: words.indices.fill_null(-1).to_numpy() for name, words in self.attributes.items()}

    @cached_property
    def text_tokens(self) -> dict[str, pa.Array]:
        """list<string> [n]: the words of each further text."""
        return {name: tokenise(texts) for name, texts in self.text.items()}


def category_means(category: np.ndarray, price: np.ndarray, categories: int) -> np.ndarray:
    """float64 [categories]: mean price of the items of each code."""
    total, count = (np.bincount(category, weights, minlength=categories) for weights in (price, None))
    return total / np.maximum(count, 1)


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    coded = one_array(column).cast(pa.string()).dictionary_encode()
    return coded.indices.to_numpy().astype(np.int32, copy=True), coded.dictionary


def known_of(table: pa.Table, column: str) -> dict[str, pa.Array]:
    """A map column of items or shoppers by name, [rows] each; nothing where the table does not have it."""
    return slate_columns.all_scalars(table, column) if column in table.column_names else {}


def _numbers(ids: pa.Array) -> np.ndarray:
    """float64: ids of digits alone; NaN for others."""
    digits = pc.if_else(pc.match_substring_regex(ids, "^[0-9]{1,15}$"), ids, pa.scalar(None, ids.type))
    return digits.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False).copy()


def as_numbers(values: pa.Array) -> np.ndarray:
    """float32; NaN where null."""
    return values.cast(pa.float32()).fill_null(np.nan).to_numpy(zero_copy_only=False).copy()


def _looked_up(column: pa.ChunkedArray, row: np.ndarray) -> np.ndarray:
    values = np.append(one_array(column).to_numpy(), np.nan)  # row -1 reads the last
    return values[row].astype(np.float32)
