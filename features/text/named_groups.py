"""Named groups: the words by which a category, a brand or another attribute is called, learned from items' names.

A term names a group (such as category = laptops) where nearly all items whose name holds the term are of the group,
and enough of the group's items that are written in the term's script hold it: most, or some where the group's label is
in another script (so that the term translates it). The group's other items then answer the term too: no list of
synonyms is needed. A group of kinds is called by none of them: where the names of beauty products say perfume or cream,
and never both, neither word is beauty's, and a search for the one does not find the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from features.text.documents import Document, Group
from features.text.light_stems import is_arabic, stem

OF_GROUP = 0.95  # share of the term's items that are of the group
OF_TERM, OF_TRANSLATION = 0.75, 0.25  # shares of the group's items in the term's script that hold it
OF_KIND, TOGETHER = 0.10, 0.05  # share of the group that another of its words holds; of that, what holds both
FEWEST = 3  # items that hold the term


@dataclass(frozen=True, eq=False)
class NamedGroups:
    """`by_term`: the groups that a term names; `rows` int32 of each such group, sorted."""

    by_term: Mapping[int, tuple[Group, ...]] = field(default_factory=dict)
    rows: Mapping[Group, np.ndarray] = field(default_factory=dict)

    @classmethod
    def learned(cls, documents: Sequence[Document], number: Mapping[str, int]) -> NamedGroups:
        """From a collection whose rows are its order; `number` by term."""
        members, holding = _rows_by_group(documents), _rows_by_word(documents)
        arabic = np.array([any(map(is_arabic, document.name)) for document in documents], bool)
        latin = np.array([any(w.isascii() and w.isalpha() for w in document.name) for document in documents], bool)
        words: dict[tuple[Group, bool], dict[str, float]] = {}  # by group and script: shares of its own words
        for name, rows in holding.items():
            if len(rows) >= FEWEST:
                written = arabic if is_arabic(name) else latin
                for group in sorted({*documents[rows[0]].groups, *documents[rows[-1]].groups}):
                    if share := _share(rows, members[group], written):
                        words.setdefault((group, is_arabic(name)), {})[name] = share
        by_term: dict[int, tuple[Group, ...]] = {}
        for (group, script), shares in sorted(words.items()):
            least = OF_TERM if script == is_arabic(group[1]) else OF_TRANSLATION
            for name, share in shares.items():
                if share >= OF_TERM or (share >= least and not _is_kind(name, shares, holding)):
                    by_term[number[name]] = (*by_term.get(number[name], ()), group)
        return cls(by_term, {group: members[group] for groups in by_term.values() for group in groups})


def _rows_by_group(documents: Sequence[Document]) -> dict[Group, np.ndarray]:
    members: dict[Group, list[int]] = {}
    for row, document in enumerate(documents):
        for group in document.groups:
            members.setdefault(group, []).append(row)
    return {group: np.array(rows, np.int32) for group, rows in members.items()}


def _rows_by_word(documents: Sequence[Document]) -> dict[str, np.ndarray]:
    """Rows whose name holds a term; numbers name nothing."""
    holding: dict[str, list[int]] = {}
    for row, document in enumerate(documents):
        for term in {stem(word) for word in document.name if not word.isdigit()}:
            holding.setdefault(term, []).append(row)
    return {term: np.array(rows, np.int32) for term, rows in holding.items()}


def _share(holding: np.ndarray, group: np.ndarray, in_script: np.ndarray) -> float:
    """Of the group's items in the term's script, those that hold it; 0 where other items hold it, too."""
    both = np.count_nonzero(np.isin(holding, group, assume_unique=True))
    written = np.count_nonzero(in_script[group])
    return both / written if written and both >= OF_GROUP * len(holding) else 0.0


def _is_kind(name: str, shares: Mapping[str, float], holding: Mapping[str, np.ndarray]) -> bool:
    """Whether another word of the group stands in its names instead of this one."""
    others = (holding[other] for other, share in shares.items() if other != name and share >= OF_KIND)
    return any(len(np.intersect1d(holding[name], rows)) <= TOGETHER * len(rows) for rows in others)
