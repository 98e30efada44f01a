"""Documents: the words by which an item can be searched, in fields that weigh differently.

Fields: the item's `name`; its `labels`, which are category and attributes such as the brand; and further `text`.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from features.text.light_stems import stem
from features.text.normal_form import words

FIELDS = ("name", "labels", "text")
Group = tuple[str, str]  # kind and label, such as ("brand", "Najm")
STRONG = ("name", "labels")  # what the item is; further text may speak of other things


@dataclass(frozen=True)
class Document:
    """One item's words, in normal form and in order; `groups` are its category and attributes by kind."""

    name: tuple[str, ...]
    labels: tuple[str, ...]
    text: tuple[str, ...]
    groups: tuple[Group, ...] = ()

    @classmethod
    def of(cls, name: str | None, *, groups: Sequence[Group], text: Sequence[str | None] = ()) -> Document:
        """From texts as they are; `groups` such as ("category", "laptops"), ("brand", "Najm")."""
        labels = [word for _, label in groups for word in words(label)]
        return cls(
            tuple(words(name)), tuple(labels), tuple(word for part in text for word in words(part)), tuple(groups)
        )

    def with_compounds(self, terms: Container[str]) -> Document:
        """The document, called also by the compounds of its name that others write as one word, of these `terms`."""
        pairs = [one + other for one, other in pairwise(self.name) if one.isalpha() and other.isalpha()]
        compounds = tuple(pair for pair in pairs if stem(pair) in terms)
        return replace(self, labels=self.labels + compounds) if compounds else self

    def field(self, name: str) -> tuple[str, ...]:
        """The words of one of FIELDS."""
        return getattr(self, name)
