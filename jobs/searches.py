"""Searches of a service's log: what shoppers looked for, and what found nothing."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from jobs.tables import print_section
from marketplace.log_place import Place, shown_place
from marketplace.open_log import open_log
from marketplace.schema import MATCH_KEY, MATCHES, QUERY_WORDS_KEY
from marketplace.slate_columns import context

MATCH_MEANS = {"none": "nothing: a fallback was shown", "part": "some of the words", "all": "all of the words"}


def search_counts(slates: pa.Table) -> dict[str, Counter[str]]:
    """Searches by how they were answered (`marketplace.schema.MATCHES`), and by their words in normal form."""
    words, match = context(slates, QUERY_WORDS_KEY), context(slates, MATCH_KEY)
    return {answered: Counter(words.filter(pc.equal(match, answered)).to_pylist()) for answered in MATCHES}


def report_searches(place: Place, *, most: int) -> None:
    """Print how the searches in `place` were answered, and the commonest that found nothing or a part."""
    log = open_log(place)
    slates = log.slates(columns=("context",))
    log.close()
    counts, title = search_counts(slates), shown_place(place)
    total = sum(sum(counter.values()) for counter in counts.values())
    if not total:
        raise ValueError(f"{title} holds no searches: among {len(slates):,} slates none answers the words of a query.")
    shares = [
        (MATCH_MEANS[name], f"{sum(c.values()):,}", f"{sum(c.values()) / total:.1%}") for name, c in counts.items()
    ]
    print_section(("answered", "searches", "share"), shares, title=f"{title}: {total:,} searches", caption="")
    for name in ("none", "part"):
        rows = [(text or "(no word)", f"{number:,}") for text, number in counts[name].most_common(most)]
        heading = f"commonest searches that found {MATCH_MEANS[name].split(':')[0]}"
        print_section(("words", "searches"), rows, title=heading, caption=f"{len(counts[name]):,} different texts")
