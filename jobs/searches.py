"""Searches of a service's log: what shoppers looked for, and what found nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from jobs.tables import print_section
from marketplace.schema import MATCH_KEY, MATCHES, QUERY_WORDS_KEY
from marketplace.slate_columns import context
from marketplace.sqlite_log import SqliteLog

MATCH_MEANS = {"none": "nothing: a fallback was shown", "part": "some of the words", "all": "all of the words"}


def search_counts(slates: pa.Table) -> dict[str, Counter[str]]:
    """Searches by how they were answered (`marketplace.schema.MATCHES`), and by their words in normal form."""
    words, match = context(slates, QUERY_WORDS_KEY), context(slates, MATCH_KEY)
    return {answered: Counter(words.filter(pc.equal(match, answered)).to_pylist()) for answered in MATCHES}


def report_searches(path: Path, *, most: int) -> None:
    """Print how the searches in `path` (SQLite) were answered, and the commonest that found nothing or a part."""
    log = SqliteLog(path)
    slates = log.slates()
    log.close()
    counts = search_counts(slates)
    total = sum(sum(counter.values()) for counter in counts.values())
    if not total:
        raise ValueError(f"{path} holds no searches: among {len(slates):,} slates none answers the words of a query.")
    shares = [
        (MATCH_MEANS[name], f"{sum(c.values()):,}", f"{sum(c.values()) / total:.1%}") for name, c in counts.items()
    ]
    print_section(("answered", "searches", "share"), shares, title=f"{path}: {total:,} searches", caption="")
    for name in ("none", "part"):
        rows = [(text or "(no word)", f"{number:,}") for text, number in counts[name].most_common(most)]
        title = f"commonest searches that found {MATCH_MEANS[name].split(':')[0]}"
        print_section(("words", "searches"), rows, title=title, caption=f"{len(counts[name]):,} different texts")
