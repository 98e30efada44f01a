"""Word vectors: names as bags of words of unit length, a word weighing log(n / names with it)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from features.text.normal_form import tokenise


@dataclass(frozen=True, eq=False)
class WordVectors:
    """`rows` float32 [n, vocabulary], each of length 1 or empty; `words` string and `weight` float64 [vocabulary]."""

    rows: sparse.csr_matrix
    words: pa.Array
    weight: np.ndarray

    @classmethod
    def of(cls, tokens: pa.Array, *, names: int) -> WordVectors:
        """Of the words of n rows, list<string> [n]; those beyond the first `names` hold none, and do not count."""
        coded = tokens.flatten().dictionary_encode()
        size = max(len(coded.dictionary), 1)
        name = np.repeat(np.arange(len(tokens), dtype=np.int64), np.diff(tokens.offsets.to_numpy()))
        once = np.unique(name * size + coded.indices.to_numpy())
        holding = np.bincount(once % size, minlength=len(coded.dictionary))[: len(coded.dictionary)]
        weight = np.log(names / np.maximum(holding, 1))
        return cls(unit_rows(tokens, coded.indices.to_numpy(), weight), coded.dictionary, weight)

    def of_texts(self, texts: pa.Array) -> sparse.csr_matrix:
        """float32 [m, vocabulary]: the words of other texts that the names know, each row of length 1 or empty."""
        tokens = tokenise(texts)
        known = pc.index_in(tokens.flatten(), self.words)
        return unit_rows(tokens, known.fill_null(-1).to_numpy(), self.weight)

    def cosine(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """float32 [m]: how alike the names of two items are, rows [m] each."""
        return row_products(self.rows[one], self.rows[other])


def unit_rows(tokens: pa.Array, word: np.ndarray, weight: np.ndarray) -> sparse.csr_matrix:
    """float32 [n, vocabulary]: `tokens` list<string> [n], coded flat as `word` (-1 = left out), twice is once."""
    text, known = np.repeat(np.arange(len(tokens)), np.diff(tokens.offsets.to_numpy())), word >= 0
    entries = (np.ones(known.sum(), np.float32), (text[known], word[known]))
    rows = sparse.csr_matrix(entries, (len(tokens), len(weight)))
    rows.data = weight[rows.indices].astype(np.float32)
    length = np.sqrt(row_products(rows, rows))
    return sparse.diags(1 / np.where(length > 0, length, 1)).dot(rows).tocsr().astype(np.float32)


def row_products(one: sparse.csr_matrix, other: sparse.csr_matrix) -> np.ndarray:
    """float32 [m]: inner products of the rows of two matrices."""
    return np.asarray(one.multiply(other).sum(axis=1)).ravel()
