"""The catalogue that moves: the bundle's, written over by the records of the log that it does not hold yet.

Rows are written between two requests, by the thread that answers them, so that a request sees one state. A change of
price, stock or time writes numbers; a change of content (words, category, merchant, attributes) encodes the row anew
and embeds it; an item that begins takes the next vacant row. What the models cannot know of it is unknown to them:
its id has the code of unknown ids, and its counts are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import pyarrow as pa

from features.catalogue import Catalogue
from features.encoder import Encoder
from features.snapshot import item_numbers
from features.text.lexical_index import LexicalIndex
from marketplace.catalogue_records import ITEM_COLUMNS, CatalogueRecord, Subject
from marketplace.dataset import Dataset
from marketplace.log import Log
from marketplace.schema import microseconds_of
from marketplace.slate import Slate
from marketplace.updated_catalogue import fresh, moved_items, moved_merchants
from retrieval.moving_index import MovingIndex
from serving.availability import FOREVER, Availability, Hindrance
from serving.item_table import ItemTable
from value_model.merchant import ItemMerchants, MerchantTable

NUMBERS = ("price", "margin", "in_stock", "available_from")  # written without encoding the row
CONTENT = tuple(name for name in ITEM_COLUMNS if name not in NUMBERS)
STATES = {"hidden": Hindrance.HIDDEN, "blocked": Hindrance.BLOCKED, "removed": Hindrance.REMOVED}


ITEMS, CATEGORIES = "items", "categories"
Numbers = Callable[[str, Sequence[str]], Sequence[int]]  # of ITEMS or CATEGORIES, by name


class ItemTower(Protocol):
    """Places items in the space in which queries look for them."""

    def embed(self, codes: np.ndarray, lists: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """float32 [m, d] of m items, encoded as in `features.spec.ModelInputs`."""
        ...


@dataclass(frozen=True, eq=False)
class MovingParts:
    """What is written to as the catalogue moves, over n rows of the bundle and vacant rows behind them.

    `lexical_index` is None where names are no words, `index` and `item_tower` where no source compares embeddings, or
    the bundle holds no item tower.
    """

    catalogue: Catalogue
    item_table: ItemTable
    availability: Availability
    merchants: ItemMerchants
    encoder: Encoder
    lexical_index: LexicalIndex | None = None
    index: MovingIndex | None = None
    item_tower: ItemTower | None = None


class LiveCatalogue:
    """Follows the catalogue's records in `log`; `mark` says up to which.

    `bundled` holds items and merchants as the bundle was made from them, which knows what was recorded before `since`
    (UTC microseconds). `waiting` are items that found no vacant row. `numbers` gives those of items and categories that
    begin, from 0: in the order in which this log began them, unless others share them.
    """

    def __init__(self, bundled: Dataset, parts: MovingParts, log: Log, *, since: int) -> None:
        self.parts, self.mark, self.waiting = parts, 0, set[str]()
        self._bundled, self._log, self._since = bundled, log, since
        self._size, self._categories = len(bundled.items), len(parts.item_table.code["category"])
        self.numbers: Numbers = partial(_in_order, {ITEMS: {}, CATEGORIES: {}})
        self.rewritten = np.zeros(len(parts.item_table), bool)  # rows whose content or launch is not the bundle's
        self._records: dict[str, CatalogueRecord] = {}  # of items, as they were written last
        self._merchants: dict[str, CatalogueRecord] = {}
        self._merchant_rows = bundled.merchants
        catalogue, codes = parts.catalogue, parts.item_table.code["category"]
        mean = np.zeros(len(codes))
        mean[catalogue.category] = catalogue.category_price
        self._mean_price = {name: mean[code] for name, code in codes.items() if name}
        self._maps = {"attributes": catalogue.attributes, "numeric": catalogue.numeric, "text": catalogue.text}

    def follow(self) -> None:
        """Write what was recorded since the last time."""
        records, mark = self._log.catalogue_after(self.mark)
        if records:
            self._write(records)
        self.mark = mark

    def _write(self, records: Sequence[CatalogueRecord]) -> None:
        rewritten = self._write_merchants([one for one in records if one.subject is Subject.MERCHANT])
        items = [one for one in records if one.subject is Subject.ITEM]
        rows = self._rows(items)
        items, rows = [one for one, row in zip(items, rows.tolist(), strict=True) if row >= 0], rows[rows >= 0]
        content = [self._content_moved(one, row) for one, row in zip(items, rows.tolist(), strict=True)]
        self._write_content(np.union1d(rewritten, rows[np.array(content, bool)]), items)
        self._write_numbers(items, rows)
        self._write_states(items, rows)
        self._records.update((one.name, one) for one in items)
        self.parts.availability.changed()

    def shows(self, slate: Slate, *, prices_sent: bool) -> bool:
        """Whether everything that a slate shows may be shown as it says; `prices_sent`: prices are the caller's."""
        table, shown = self.parts.item_table, slate.position > 0
        rows = table.rows(slate.item_id[shown])
        time = microseconds_of(slate.time)
        same = prices_sent or np.array_equal(table.price[rows], slate.price[shown])
        return bool(same and self.parts.availability.of(rows, time).all())

    def _rows(self, items: Sequence[CatalogueRecord]) -> np.ndarray:
        """int64: the items' rows, a vacant one for each that begins; -1 where there is none left."""
        row, rows = self.parts.item_table.row, np.full(len(items), -1)
        beginning = [one.name for one in items if one.complete and one.name not in row]
        for name, number in zip(beginning, self.numbers(ITEMS, beginning) if beginning else (), strict=True):
            if (vacant := self._size + number) < len(self.parts.item_table):
                self.parts.catalogue.row[name], self.parts.item_table.item_id[vacant] = vacant, name
        for place, one in enumerate(items):
            rows[place] = row.get(one.name, -1)
        self.waiting |= {one.name for one, at in zip(items, rows.tolist(), strict=True) if at < 0 and one.complete}
        return rows

    def _begin_categories(self, names: Sequence[str]) -> None:
        """Give these categories the codes behind those of the bundle's."""
        for name, number in zip(names, self.numbers(CATEGORIES, names) if names else (), strict=True):
            self.parts.item_table.code["category"][name] = self._categories + number

    def _fresh(self, record: CatalogueRecord, row: int) -> Mapping[str, object]:
        """The fields of a record that move the bundle's row, by name with their versions."""
        return {name: cell.version for name, cell in fresh(record, row < self._size, since=self._since).items()}

    def _content_moved(self, record: CatalogueRecord, row: int) -> bool:
        before = self._records.get(record.name)
        if before is None and row >= self._size:
            return True
        earlier, now = {} if before is None else self._fresh(before, row), self._fresh(record, row)
        return any(earlier.get(name) != now.get(name) for name in CONTENT)

    def _write_content(self, rows: np.ndarray, items: Iterable[CatalogueRecord]) -> None:
        """Encode rows anew, and embed them."""
        if not len(rows):
            return
        parts, table = self.parts, self.parts.item_table
        latest = self._records | {one.name: one for one in items}
        names = table.item_id[rows].tolist()
        records = [latest.get(name, CatalogueRecord(Subject.ITEM, name, -1, {})) for name in names]
        base = self._bundled.items.take(pa.array(rows[rows < self._size]))
        moved = moved_items(base, records, currency=self._bundled.currency, since=self._since, maps=self._maps)
        dataset = replace(self._bundled, items=moved, merchants=self._merchant_rows)
        catalogue = Catalogue.of(dataset, mean_price=self._mean_price)
        written = ItemTable.of(catalogue, encoder=parts.encoder)
        self._begin_categories([name for name in written.code["category"] if name not in table.code["category"]])
        category, merchant = (table.coded(name, written) for name in ("category", "merchant"))
        parts.catalogue.write(rows, catalogue, category=category, merchant=merchant)
        table.write(rows, written)
        self.rewritten[rows] = True
        if parts.lexical_index is not None:
            parts.lexical_index.upsert(dict(zip(rows.tolist(), catalogue.documents(), strict=True)))
        stock = moved["in_stock"].to_numpy()
        parts.availability.put(Hindrance.OUT_OF_STOCK, rows, ~stock)
        parts.availability.put(Hindrance.VACANT, rows, np.zeros(len(rows), bool))
        blocked = [self._is_blocked(name) for name in written.merchant_id.tolist()]
        parts.availability.put(Hindrance.MERCHANT_BLOCKED, rows, np.array(blocked, bool))
        parts.merchants.rows[rows] = parts.merchants.table.codes(pa.array(written.merchant_id.tolist(), pa.string()))
        if parts.index is not None and parts.item_tower is not None:
            encoded = (written.encoded.codes, written.encoded.lists, written.numbers)
            parts.index.move(rows, parts.item_tower.embed(*encoded))

    def _write_numbers(self, items: Sequence[CatalogueRecord], rows: np.ndarray) -> None:
        """Price, margin, launch and stock."""
        parts, catalogue = self.parts, self.parts.catalogue
        cells = [fresh(one, row < self._size, since=self._since) for one, row in zip(items, rows.tolist(), strict=True)]
        for name, column, missing in (
            ("price", catalogue.price, np.nan),
            ("margin", catalogue.margin, np.nan),
            ("available_from", catalogue.launched, np.iinfo(np.int64).min),
            ("available_from", catalogue.begun, np.iinfo(np.int64).min),
        ):
            named = np.array([name in one for one in cells], bool)
            values = [one[name].value for one in cells if name in one]
            column[rows[named]] = [missing if value is None else value for value in values]
            if name == "price" and named.any():
                parts.item_table.price[rows[named]] = catalogue.price[rows[named]]
                parts.item_table.numbers[rows] = item_numbers(catalogue, parts.encoder.spec, rows=rows)
            if name == "available_from":
                self.rewritten[rows[named]] = True
        named = np.array(["in_stock" in one for one in cells], bool)
        stock = np.array([one["in_stock"].value for one in cells if "in_stock" in one], bool)
        parts.availability.put(Hindrance.OUT_OF_STOCK, rows[named], ~stock)

    def _write_states(self, items: Sequence[CatalogueRecord], rows: np.ndarray) -> None:
        availability = self.parts.availability
        for name, hindrance in STATES.items():
            availability.put(hindrance, rows, np.array([bool(one.value(name, False)) for one in items], bool))
        availability.expires[rows] = [one.value("expires_at", FOREVER) for one in items]

    def _write_merchants(self, records: Sequence[CatalogueRecord]) -> np.ndarray:
        """Rates, joining dates and blocks; the rows of these merchants' items, whose features change with them."""
        if not records:
            return np.zeros(0, np.int64)
        parts, table = self.parts, self.parts.item_table
        self._merchants.update((one.name, one) for one in records)
        everyone = list(self._merchants.values())
        self._merchant_rows = moved_merchants(self._bundled.merchants, everyone, since=self._since)
        parts.merchants.table = MerchantTable.from_table(self._merchant_rows)
        names = pa.array(list(table.merchant_code), pa.string())
        parts.merchants.rows[:] = parts.merchants.table.codes(names)[table.merchant]
        codes = [table.merchant_code[one.name] for one in records if one.name in table.merchant_code]
        return np.flatnonzero(np.isin(table.merchant, codes))

    def _is_blocked(self, merchant: str) -> bool:
        record = self._merchants.get(merchant)
        return record is not None and bool(record.value("blocked", False))


def _in_order(begun: Mapping[str, dict[str, int]], kind: str, names: Sequence[str]) -> list[int]:
    """The numbers of names as they were first asked for; `begun` keeps them, by kind."""
    numbers = begun[kind]
    return [numbers.setdefault(name, len(numbers)) for name in names]
