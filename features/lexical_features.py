"""Lexical features: how well an item answers the words of a search, against the whole catalogue and not a list.

score = BM25; coverage = share of the query's words that the item answers; rank = its place among all items that answer
some word, best first. 0, 0 and NaN of an item that answers none; all NaN where nothing is searched.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.spec import FeatureSpec, Group, count, number
from features.state import Definition, Part
from features.statistics.statistic import Columns
from features.text.lexical_index import LexicalIndex
from features.text.text_match import TextMatch

DEFINITIONS = (
    Definition(
        number(Group.CROSS, "lexical_score", "BM25 of the search's words in the item's text"),
        lambda s: s["lexical_score"],
        Part.TEXT,
    ),
    Definition(
        number(Group.CROSS, "lexical_coverage", "share of the search's words that the item answers"),
        lambda s: s["lexical_coverage"],
        Part.TEXT,
    ),
    Definition(
        count(Group.CROSS, "lexical_rank", "the item's place among all that answer the search, 1 = best"),
        lambda s: s["lexical_rank"],
        Part.TEXT,
    ),
)
NAMES = tuple(definition.feature.name for definition in DEFINITIONS)


def reads_words(spec: FeatureSpec) -> bool:
    """Whether a spec has a lexical feature."""
    return not {feature.name for feature in spec.features}.isdisjoint(NAMES)


def lexical_columns(index: LexicalIndex, query: str | None, items: np.ndarray) -> Columns:
    """float32 [n] by name, of one request's candidates (catalogue rows)."""
    return not_searched(len(items)) if query is None else _columns(index.match(query), items)


def lexical_columns_of_requests(
    index: LexicalIndex, queries: Sequence[str | None], request: np.ndarray, items: np.ndarray
) -> Columns:
    """float32 [N] by name: `queries` [R], `request` and `items` [N]; each text is searched once."""
    columns, number_of = not_searched(len(items)), dict[str, int]()
    code = [-1 if query is None else number_of.setdefault(query, len(number_of)) for query in queries]
    code_of_row = np.array(code, np.int64)[request]
    order = np.argsort(code_of_row, kind="stable")
    edges = np.searchsorted(code_of_row[order], np.arange(len(number_of) + 1))
    for text, place in number_of.items():
        rows = order[edges[place] : edges[place + 1]]
        for name, values in _columns(index.match(text), items[rows]).items():
            columns[name][rows] = values
    return columns


def not_searched(rows: int) -> Columns:
    return dict(zip(NAMES, np.full((len(NAMES), rows), np.nan, np.float32), strict=True))


def _columns(match: TextMatch, items: np.ndarray) -> Columns:
    rank = match.of(items, match.rank)
    return {
        "lexical_score": match.of(items, match.score),
        "lexical_coverage": match.of(items, match.coverage),
        "lexical_rank": np.where(rank > 0, rank, np.float32(np.nan)),
    }
