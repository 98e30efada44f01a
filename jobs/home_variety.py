"""Variety of home pages: how many shoppers get the same item, asked of the bundle as it is served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from marketplace.memory_log import MemoryLog
from serving.bundle import ModelBundle, build_engine
from serving.engine import RankingEngine
from serving.request import Request

FIRST = 10  # places of a home page that are looked at


@dataclass(frozen=True)
class HomeVariety:
    """Of the first FIRST places of `shoppers` home pages: the item that most of them share, and how many there are."""

    shoppers: int
    item_id: str
    share: float  # of the shoppers who get that item
    items: int  # distinct

    def __str__(self) -> str:
        return (
            f"home of {self.shoppers:,} shoppers: {self.items:,} items stand in the first {FIRST}; the commonest, "
            f"{self.item_id}, on {self.share:.0%} of the pages"
        )

    def alarm(self, most: float) -> str | None:
        """What to say where more than `most` of the shoppers get the same item."""
        if self.share <= most:
            return None
        return (
            f"ALARM: {self.share:.0%} of shoppers get {self.item_id} among the first {FIRST} of home, more than "
            f"{most:.0%}: name the shoppers' segments in the user table, raise the quotas of personal sources under "
            "[home] in surfaces.toml, or add exploration to the policy's [slate] section (docs/surfaces.md, Home)"
        )


def home_variety(bundle: ModelBundle, *, shoppers: int) -> HomeVariety | None:
    """Of `shoppers` evenly chosen from the user table, at the end of the data; None without a table."""
    users = bundle.catalogue.users["user_id"].to_pylist()
    if not users:
        return None
    engine = build_engine(bundle, log=MemoryLog())
    return variety_of(home_pages(engine, users[:: max(1, len(users) // shoppers)][:shoppers]))


def home_pages(engine: RankingEngine, users: Sequence[str]) -> list[list[str]]:
    """The first FIRST items of each shopper's home page, best first; nothing is kept of them."""
    time, pages = engine.parts.known_until, []
    for number, user in enumerate(users):
        request = Request(request_id=f"home {number}", time=time, surface="home", user_id=user, k=FIRST)
        slate = engine.rank(request).slate
        shown = {int(place): name for place, name in zip(slate.position, slate.item_id, strict=True) if place}
        pages.append([shown[place] for place in sorted(shown)])
    return pages


def variety_of(pages: Sequence[Sequence[str]]) -> HomeVariety:
    """Of pages, one a shopper."""
    counts = Counter(item for page in pages for item in set(page))
    (item, most), *_ = counts.most_common(1) or [("none", 0)]
    return HomeVariety(len(pages), item, most / len(pages), len(counts))
