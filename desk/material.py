"""What lies on the desk: logged requests with all that judging other weights needs, and names that people know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from desk.publication import PolicyService
from marketplace.dataset import Dataset
from marketplace.slate_columns import flat, item_offsets, pad, slate_mask, to_numpy
from value_model.formula import ValuePolicy
from value_model.policy_checks import HeadCalibration
from value_model.tuning import Evidence


@dataclass(frozen=True)
class ItemNames:
    """Codes int [R, n] into names: what the items and merchants of the slates are called."""

    item: np.ndarray
    merchant: np.ndarray
    items: np.ndarray
    merchants: np.ndarray
    titles: np.ndarray  # text [R]: each request in a few words


@dataclass(frozen=True)
class Material:
    """R requests; `policy` is the run's own, `service` where policies are served. `notes` say what the log can tell."""

    name: str
    policy: ValuePolicy
    evidence: Evidence
    names: ItemNames
    versions: Path
    calibration: HeadCalibration | None = None
    requests_per_day: float | None = None
    notes: tuple[str, ...] = ()
    service: PolicyService | None = None
    whole: Evidence | None = None

    @property
    def searched(self) -> Evidence:
        """The requests of a search: `whole`, all that the run has, as `value-model tune` searches; None = these."""
        return self.whole or self.evidence


def item_names(slates: pa.Table, dataset: Dataset) -> ItemNames:
    """Items by their name where the catalogue has one, else by their id."""
    mask = slate_mask(item_offsets(slates))
    items, merchants = (flat(slates, name).cast(pa.string()).dictionary_encode() for name in ("item_id", "merchant_id"))
    ids = items.dictionary
    titles = pc.coalesce(dataset.of_items(ids, "name").cast(pa.string()), ids)
    item, merchant = (
        pad(to_numpy(column.indices.fill_null(0)).astype(np.int64), mask) for column in (items, merchants)
    )
    return ItemNames(
        item,
        merchant,
        to_numpy(titles).astype(str),
        to_numpy(merchants.dictionary).astype(str),
        _titles(slates, dataset),
    )


def _titles(slates: pa.Table, dataset: Dataset) -> np.ndarray:
    """Each request in a few words: its surface and what it is about, an item by its name."""
    columns = ("request_id", "surface", "query", "page_item_id", "page_merchant_id", "user_id")
    rows = slates.select(columns).to_pylist()
    pages = slates["page_item_id"].combine_chunks().cast(pa.string())
    names = pc.coalesce(dataset.of_items(pages, "name").cast(pa.string()), pages).to_pylist()
    about = [row["query"] or name or row["page_merchant_id"] or "" for row, name in zip(rows, names, strict=True)]
    return np.array(
        [
            f"{row['surface']}{f' “{what}”' if what else ''} · shopper {row['user_id']} · {row['request_id']}"
            for row, what in zip(rows, about, strict=True)
        ],
        dtype=object,
    )
