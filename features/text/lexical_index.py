"""Lexical index: which items answer a query by words, in Arabic and English.

The collection is indexed once and saved; items that change afterwards are weighed with the collection's statistics and
searched beside it. Rows are catalogue rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from features.text.bm25 import CollectionStatistics, collection_postings, further_postings
from features.text.documents import FIELDS, Document
from features.text.later_documents import LaterDocuments, joined_name, with_change
from features.text.light_stems import stem
from features.text.named_groups import NamedGroups
from features.text.normal_form import words
from features.text.postings import Postings
from features.text.searched_documents import SearchedDocuments
from features.text.text_match import TextMatch

LONGEST_QUERY = 16  # words
REMEMBERED = 256  # queries whose matches are kept
ARRAYS, TEXTS = "lexical_index.npz", "lexical_index.json"


class LexicalIndex:
    """One thread may write; a search sees the documents before or after a change, never between."""

    def __init__(
        self, postings: Postings, statistics: CollectionStatistics, groups: NamedGroups, *, names: Sequence[str]
    ) -> None:
        """`names`: the collection's, in normal form, by row."""
        self._postings, self._statistics, self._groups, self._names = postings, statistics, groups, tuple(names)
        self._number = {stem(word): term for word, term in zip(postings.words, postings.term.tolist(), strict=True)}
        self._rows_called: dict[str, list[int]] = {}
        for row, name in enumerate(self._names):
            self._rows_called.setdefault(joined_name(name.split(" ")), []).append(row)
        self._later: tuple[LaterDocuments, ...] = ()
        self._rows = statistics.size
        self._search = self._searching()

    @classmethod
    def of(cls, documents: Sequence[Document]) -> LexicalIndex:
        """The index of a collection, whose rows are its order."""
        terms = {stem(word) for document in documents for word in document.name}
        documents = [document.with_compounds(terms) for document in documents]
        postings, statistics = collection_postings(documents)
        number = {stem(word): term for word, term in zip(postings.words, postings.term.tolist(), strict=True)}
        names = [" ".join(document.name) for document in documents]
        return cls(postings, statistics, NamedGroups.learned(documents, number), names=names)

    @property
    def rows(self) -> int:
        """Rows of the collection and of what came later."""
        return self._rows

    def match(self, text: str) -> TextMatch:
        """The items that answer some word of `text`; words beyond LONGEST_QUERY are not read."""
        return self._search(tuple(words(text)[:LONGEST_QUERY]))

    def upsert(self, documents: Mapping[int, Document | None]) -> None:
        """Put documents by row, new or changed; None = the row answers nothing from now on."""
        indexed = partial(further_postings, number=self._number, statistics=self._statistics)
        changed = {row: one and one.with_compounds(self._number) for row, one in documents.items()}
        self._later = with_change(self._later, changed, indexed)
        self._rows = max(self._rows, max(documents, default=-1) + 1)
        self._search = self._searching()

    def _searching(self) -> Callable[[tuple[str, ...]], TextMatch]:
        """A search of the documents as they are now, which remembers what it was asked."""
        documents = SearchedDocuments(self._postings, self._groups, self._rows_called, self._later, rows=self._rows)
        return lru_cache(maxsize=REMEMBERED)(documents.match)

    def save(self, folder: Path) -> None:
        """Write the collection, without later changes: arrays and JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        postings, statistics, groups = self._postings, self._statistics, self._groups
        named = list(groups.rows)
        arrays = {name: getattr(postings, name) for name in ("term", "start", "rows", "weights", "strong")}
        arrays |= {f"documents_with.{field}": statistics.documents_with[field] for field in FIELDS}
        arrays |= {f"group.{place}": groups.rows[group] for place, group in enumerate(named)}
        np.savez(folder / ARRAYS, allow_pickle=False, **arrays)
        texts = {
            "words": list(postings.words),
            "names": self._names,
            "size": statistics.size,
            "mean_length": dict(statistics.mean_length),
            "groups": named,
            "named": {term: [named.index(group) for group in held] for term, held in groups.by_term.items()},
        }
        (folder / TEXTS).write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> LexicalIndex:
        """What `save` wrote."""
        texts = json.loads((folder / TEXTS).read_text(encoding="utf-8"))
        with np.load(folder / ARRAYS, allow_pickle=False) as file:
            arrays = dict(file)
        columns = (arrays[name] for name in ("term", "start", "rows", "weights", "strong"))
        documents_with = {field: arrays[f"documents_with.{field}"] for field in FIELDS}
        statistics = CollectionStatistics(texts["size"], documents_with, texts["mean_length"])
        named = [(kind, label) for kind, label in texts["groups"]]
        groups = NamedGroups(
            {int(term): tuple(named[place] for place in held) for term, held in texts["named"].items()},
            {group: arrays[f"group.{place}"] for place, group in enumerate(named)},
        )
        return cls(Postings(texts["words"], *columns), statistics, groups, names=texts["names"])
