"""BM25 of documents: term weights, summed over fields.

weight(t, d) = sum over fields f of FIELD_WEIGHT[f] x idf_f(t) x tf / (tf + k1 (1 - b + b length / mean length)),
idf = log(1 + (N - df + 1/2) / (df + 1/2)): Robertson's as Lucene has it (Kamphuis et al. 2020).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log1p

import numpy as np

from features.text.documents import FIELDS, STRONG, Document
from features.text.light_stems import stem
from features.text.postings import Postings

K1, B = 1.2, 0.5
FIELD_WEIGHT = {"name": 3.0, "labels": 1.5, "text": 1.0}


@dataclass(frozen=True, eq=False)
class CollectionStatistics:
    """Of a collection of `size` documents, by field: in how many each term occurs, and the mean length in words."""

    size: int
    documents_with: Mapping[str, np.ndarray]  # int32 [T]
    mean_length: Mapping[str, float]

    def idf(self, field: str, term: int) -> float:
        """Of a term that the collection may not have (beyond T)."""
        known = self.documents_with[field]
        df = int(known[term]) if term < len(known) else 0
        return log1p((self.size - df + 0.5) / (df + 0.5))


@dataclass(frozen=True, eq=False)
class FieldEntries:
    """One field's weights: entry e says what term[e] weighs in the document of row[e]."""

    row: np.ndarray
    term: np.ndarray
    weight: np.ndarray


def vocabulary(documents: Iterable[Document]) -> tuple[dict[str, int], dict[str, int]]:
    """(term by word in order of the words, number by term) of documents."""
    words = sorted({word for document in documents for field in FIELDS for word in document.field(field)})
    numbers: dict[str, int] = {}
    return {word: numbers.setdefault(stem(word), len(numbers)) for word in words}, numbers


def collection_postings(documents: Sequence[Document]) -> tuple[Postings, CollectionStatistics]:
    """The postings of a collection, whose rows are its order."""
    term_of, numbers = vocabulary(documents)
    entries, documents_with, mean_length = {}, {}, {}
    for field in FIELDS:
        rows = [[term_of[word] for word in document.field(field)] for document in documents]
        entries[field] = _collection_weights(rows, len(numbers))
        documents_with[field] = np.bincount(entries[field].term, minlength=len(numbers)).astype(np.int32)
        mean_length[field] = sum(map(len, rows)) / max(len(rows), 1)
    statistics = CollectionStatistics(len(documents), documents_with, mean_length)
    return _postings(term_of, entries, terms=len(numbers)), statistics


def further_postings(
    documents: Mapping[int, Document], number: Mapping[str, int], statistics: CollectionStatistics
) -> Postings:
    """Postings of further documents by row, weighed as if they stood in the collection of `statistics`.

    `number`: the collection's numbers by term; the postings have their own.
    """
    term_of, numbers = vocabulary(documents.values())
    known = {numbers[term]: number.get(term, len(number)) for term in numbers}
    entries = {field: _further_weights(documents, field, term_of, known, statistics) for field in FIELDS}
    return _postings(term_of, entries, terms=len(numbers))


def _collection_weights(rows: list[list[int]], terms: int) -> FieldEntries:
    import bm25s  # where a collection is indexed, not where it is searched

    if not any(rows):
        return FieldEntries(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float32))
    index = bm25s.BM25(k1=K1, b=B, method="lucene")
    index.index((rows, {str(term): term for term in range(terms)}), show_progress=False, create_empty_token=False)
    term = np.repeat(np.arange(terms), np.diff(index.scores["indptr"]))
    return FieldEntries(index.scores["indices"], term, index.scores["data"])


def _further_weights(
    documents: Mapping[int, Document],
    field: str,
    term_of: Mapping[str, int],
    known: Mapping[int, int],
    statistics: CollectionStatistics,
) -> FieldEntries:
    rows, terms, weights = [], [], []
    for row, document in documents.items():
        held = document.field(field)
        norm = K1 * (1 - B + B * len(held) / (statistics.mean_length[field] or 1.0))
        for term, count in Counter(term_of[word] for word in held).items():
            rows.append(row)
            terms.append(term)
            weights.append(statistics.idf(field, known[term]) * count / (count + norm))
    return FieldEntries(np.array(rows, np.int32), np.array(terms, np.int64), np.array(weights, np.float32))


def _postings(term_of: Mapping[str, int], entries: Mapping[str, FieldEntries], *, terms: int) -> Postings:
    """The fields' entries added up."""
    row, term = (np.concatenate([getattr(e, name) for e in entries.values()]) for name in ("row", "term"))
    weight = np.concatenate([FIELD_WEIGHT[field] * e.weight for field, e in entries.items()])
    strong = np.concatenate([np.full(len(e.row), field in STRONG) for field, e in entries.items()])
    rows = int(row.max(initial=0)) + 1
    key, entry = np.unique(term * rows + row, return_inverse=True)
    return Postings(
        list(term_of),
        np.array(list(term_of.values()), np.int32),
        np.searchsorted(key, np.arange(terms + 1) * rows),
        (key % rows).astype(np.int32),
        np.bincount(entry, weight, minlength=len(key)).astype(np.float32),
        np.bincount(entry, strong, minlength=len(key)) > 0,
    )
