"""Later documents: what changed after a collection was indexed, in parts that are written once and merged as they grow.

A change adds a part of its own documents; parts are merged while the older is at most twice the newer. So n documents
lie in at most 2 log n parts, and each is written at most 2 log n times: O(log n) a document, however many came before
(O'Neil et al. 1996, the log-structured merge-tree).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from features.text.documents import Document, Group
from features.text.postings import Postings

Indexed = Callable[[Mapping[int, Document]], Postings]


@dataclass(frozen=True, eq=False)
class LaterDocuments:
    """One part: `documents` by row, which replace those of older parts and of the collection; None = taken away.

    `called`: rows by name, as `joined_name` has it; `members`: rows by group.
    """

    documents: Mapping[int, Document | None]
    postings: Postings
    rows: np.ndarray  # int32, of `documents`
    called: Mapping[str, list[int]]
    members: Mapping[Group, list[int]]

    @classmethod
    def of(cls, documents: Mapping[int, Document | None], indexed: Indexed) -> LaterDocuments:
        """`indexed` makes the postings of documents."""
        present = {row: document for row, document in documents.items() if document is not None}
        called: dict[str, list[int]] = {}
        members: dict[Group, list[int]] = {}
        for row, document in present.items():
            called.setdefault(joined_name(document.name), []).append(row)
            for group in document.groups:
                members.setdefault(group, []).append(row)
        return cls(documents, indexed(present), np.array(list(documents), np.int32), called, members)


def joined_name(words: Sequence[str]) -> str:
    """The name of a document without its spaces: compounds are one name, written in one word or in two."""
    return "".join(words)


def with_change(
    parts: Sequence[LaterDocuments], documents: Mapping[int, Document | None], indexed: Indexed
) -> tuple[LaterDocuments, ...]:
    """The parts, oldest first, after a change of these documents."""
    kept = list(parts)
    while kept and len(kept[-1].documents) <= 2 * len(documents):
        documents = {**kept.pop().documents, **documents}
    return (*kept, LaterDocuments.of(documents, indexed))


def current(rows: Sequence[int], newer: Sequence[LaterDocuments]) -> list[int]:
    """Those of the rows that no newer part replaces."""
    return [row for row in rows if not any(row in part.documents for part in newer)]
