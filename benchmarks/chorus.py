"""Words and meaning on rated product searches: NDCG@10 of both, and of their fusion, on Chorus (135 queries).

Every query is asked of the whole collection of rated products; what nobody rated for it counts as rated 0. Words: the
lexical index, as the service searches. Meaning: latent semantic analysis (Deerwester et al. 1990), 200 dimensions of
TF-IDF over runs of 3 to 5 letters, which stands in for a tower: Chorus holds no clicks to train one on. Fusion: ranks,
as `retrieval.blend.fused` adds them.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.record import Measure
from features.text.documents import Document
from features.text.lexical_index import LexicalIndex
from retrieval.blend import fused, pool

RATINGS = "chorus_search/Broad_Query_Set_individual_ratings.csv"
K, DEPTH, DIMENSIONS = 10, 300, 200
Ranking = Callable[[str], np.ndarray]


def chorus_measures() -> list[Measure]:
    """Nothing where the data are not at hand."""
    path = Path(os.environ.get("VALUE_MODEL_DATA", "../shared/data")) / RATINGS
    if not path.exists():
        print(f"chorus: skipped: no {path}")
        return []
    products, ratings = read_ratings(path)
    gains = {query: gain for query, gain in ratings.items() if max(gain.values()) > 0}  # the others have no best order
    words, meaning = by_words(products), by_meaning(products)
    rankings = {"lexical": words, "semantic (LSA)": meaning, "fused": lambda query: both(words(query), meaning(query))}
    ndcg = {name: np.array([ndcg_at(rank(q), gain) for q, gain in gains.items()]) for name, rank in rankings.items()}
    best = max(values.mean() for name, values in ndcg.items() if name != "fused")
    bars = {"fused": f">= {best:.4f}"}
    return [
        Measure(
            f"Chorus, {len(gains)} rated queries, {name}: NDCG@10", float(v.mean()), "NDCG", bars.get(name), spread(v)
        )
        for name, v in ndcg.items()
    ]


def read_ratings(path: Path) -> tuple[list[tuple[str, str]], dict[str, dict[int, float]]]:
    """Products (name, description), and per query the rating 0-3 of products by their place."""
    place: dict[str, int] = {}
    products, gains = [], {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["docid"] not in place:
                place[row["docid"]] = len(place)
                products.append((row["name"], row["description"]))
            gains.setdefault(row["query"], {})[place[row["docid"]]] = float(row["final_rating"])
    return products, gains


def by_words(products: list[tuple[str, str]]) -> Ranking:
    index = LexicalIndex.of([Document.of(name, groups=[], text=[text]) for name, text in products])

    def rank(query: str) -> np.ndarray:
        match = index.match(query)
        return match.rows[match.order][:DEPTH]

    return rank


def by_meaning(products: list[tuple[str, str]]) -> Ranking:
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=2)
    terms = letters.fit_transform([f"{name} {name} {text}" for name, text in products])
    analysis = TruncatedSVD(DIMENSIONS, random_state=0)
    places = analysis.fit_transform(terms)
    places /= np.maximum(np.linalg.norm(places, axis=1, keepdims=True), 1e-9)

    def rank(query: str) -> np.ndarray:
        return np.argsort(-(places @ analysis.transform(letters.transform([query]))[0]), kind="stable")[:DEPTH]

    return rank


def both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    candidates = pool([one, other])
    return candidates.items[np.argsort(-fused(candidates), kind="stable")]


def ndcg_at(ranking: np.ndarray, gain: dict[int, float]) -> float:
    """sum (2^rating - 1) / log2(rank + 1) of the first K, over that of the best order."""
    ratings = np.array([gain.get(place, 0.0) for place in ranking[:K].tolist()])
    ideal = np.sort(list(gain.values()))[::-1][:K]
    return _discounted(ratings) / _discounted(ideal)


def _discounted(ratings: np.ndarray) -> float:
    return float(((2**ratings - 1) / np.log2(np.arange(2, len(ratings) + 2))).sum())


def spread(values: np.ndarray) -> tuple[float, float]:
    """95 % of the bootstrapped means over queries."""
    draws = np.random.default_rng(0).integers(0, len(values), (2000, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
