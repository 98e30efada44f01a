"""The rules that a slate can be asked to respect. A new one is a class here, and its row in RULES."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from marketplace.schema import LISTS_SINCE, MOST_LISTS, RELEVANCE, RELEVANCE_GRADES, SURFACES
from value_model.slate_policies.limits import AtLeast, AtMost, BestFirst, DrawnQuota, LastResort
from value_model.slate_policies.slate_policy import ItemAttributes
from value_model.slate_policies.slate_rule import Limit, SlateRule


@dataclass(frozen=True)
class MerchantCap:
    """At most so many items of one merchant; not on a store's own page, where everything is."""

    most: int
    key: ClassVar[str] = "merchant_cap"
    example: ClassVar[str] = "merchant_cap = 2"
    surfaces: ClassVar[tuple[str, ...]] = tuple(surface for surface in SURFACES if surface != "store_page")
    reads: ClassVar[tuple[str, ...]] = ("merchant",)

    def __post_init__(self) -> None:
        whole_number(self.most, least=1)

    @classmethod
    def from_toml(cls, entry: Any) -> MerchantCap:
        return cls(entry)

    def to_toml(self) -> int:
        return self.most

    def limits(self, attributes: ItemAttributes, *, rules: Sequence[SlateRule]) -> list[Limit]:
        return [AtMost(attributes["merchant"], self.most)]


@dataclass(frozen=True)
class CategoryCap:
    """At most so many items of one category."""

    most: int
    key: ClassVar[str] = "category_cap"
    example: ClassVar[str] = "category_cap = 3"
    surfaces: ClassVar[tuple[str, ...]] = SURFACES
    reads: ClassVar[tuple[str, ...]] = ("category",)

    def __post_init__(self) -> None:
        whole_number(self.most, least=1)

    @classmethod
    def from_toml(cls, entry: Any) -> CategoryCap:
        return cls(entry)

    def to_toml(self) -> int:
        return self.most

    def limits(self, attributes: ItemAttributes, *, rules: Sequence[SlateRule]) -> list[Limit]:
        return [AtMost(attributes["category"], self.most)]


@dataclass(frozen=True)
class AttributeCaps:
    """At most so many items of one brand, or of any other attribute; items without one are not counted."""

    caps: tuple[tuple[str, int], ...]
    key: ClassVar[str] = "caps"
    example: ClassVar[str] = "caps = { brand = 2 }"
    surfaces: ClassVar[tuple[str, ...]] = SURFACES

    def __post_init__(self) -> None:
        for _, most in self.caps:
            whole_number(most, least=1)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.caps)

    @classmethod
    def from_toml(cls, entry: Any) -> AttributeCaps | None:
        if not isinstance(entry, dict) or entry.keys() & NO_CAPS:
            raise ValueError("Write such as { brand = 2 }; merchants and categories have caps of their own.")
        return cls(tuple(sorted(entry.items()))) if entry else None

    def to_toml(self) -> dict[str, int]:
        return dict(self.caps)

    def limits(self, attributes: ItemAttributes, *, rules: Sequence[SlateRule]) -> list[Limit]:
        return [AtMost(attributes[name], most) for name, most in self.caps]


@dataclass(frozen=True)
class Newcomers:
    """At least so many items of merchants who joined lately, as far as candidates and the merchant cap allow.

    Other caps may stand in the way. A merchant cap keeps newcomers' items from one another alone, so that how many it
    lets in is known from the start.
    """

    least: int
    key: ClassVar[str] = "newcomers"
    example: ClassVar[str] = "newcomers = 2"
    surfaces: ClassVar[tuple[str, ...]] = SURFACES
    reads: ClassVar[tuple[str, ...]] = ("newcomer",)

    def __post_init__(self) -> None:
        whole_number(self.least, least=0)

    @classmethod
    def from_toml(cls, entry: Any) -> Newcomers | None:
        rule = cls(entry)
        return rule if rule.least else None

    def to_toml(self) -> int:
        return self.least

    def limits(self, attributes: ItemAttributes, *, rules: Sequence[SlateRule]) -> list[Limit]:
        newcomer = attributes["newcomer"]
        reachable = np.flatnonzero(newcomer)
        for cap in (rule for rule in rules if isinstance(rule, MerchantCap)):
            reachable = AtMost(attributes["merchant"], cap.most).together(reachable, k=len(newcomer))
        return [AtLeast(newcomer, self.least, reachable=len(reachable))]


@dataclass(frozen=True)
class NewItems:
    """Each place goes with probability `share` to an item that began in the last `days`, until the slate holds `most`.

    All items that began lately and may take the place have equal odds, whatever their values, and the others are filled
    as without the rule: P(item i here | items above) = share [i is new] / new ones + (1 - share) P(i by value). New
    items that came by value count among `most`. What has no launch began when it was first seen.
    """

    days: float
    share: float
    most: int
    key: ClassVar[str] = "new_items"
    example: ClassVar[str] = "new_items = { days = 30, share = 0.1, most = 2 }"
    surfaces: ClassVar[tuple[str, ...]] = SURFACES
    reads: ClassVar[tuple[str, ...]] = ("new_item",)

    def __post_init__(self) -> None:
        number(self.days, above=0, most=3650, name="days")
        number(self.share, above=0, most=1, name="share")
        whole_number(self.most, least=1)

    @classmethod
    def from_toml(cls, entry: Any) -> NewItems:
        if not isinstance(entry, dict) or entry.keys() != {"days", "share", "most"}:
            raise ValueError("Write such as { days = 30, share = 0.1, most = 2 }.")
        return cls(entry["days"], entry["share"], entry["most"])

    def to_toml(self) -> dict[str, Any]:
        return {"days": self.days, "share": self.share, "most": self.most}

    def limits(self, attributes: ItemAttributes, *, rules: Sequence[SlateRule]) -> list[Limit]:
        return [DrawnQuota(attributes["new_item"], self.share, self.most)]


@dataclass(frozen=True)
class Relevance:
    """Of a search: first what answers it best, by tiers of grades; the value ranks within a tier, or within its bands.

    `band`: so many items of a tier at a time, in the order of retrieval, are ranked by value; 0 = the whole tier.
    """

    tiers: tuple[str, ...]
    band: int = 0
    key: ClassVar[str] = RELEVANCE
    example: ClassVar[str] = 'relevance = { tiers = ["name", "nearly", "part"], band = 20 }'
    surfaces: ClassVar[tuple[str, ...]] = ("search",)
    reads: ClassVar[tuple[str, ...]] = (RELEVANCE,)

    @classmethod
    def from_toml(cls, entry: Any) -> Relevance | None:
        grades = list(RELEVANCE_GRADES)
        table = entry if isinstance(entry, dict) and entry.keys() <= {"tiers", "band"} else {}
        tiers, band = table.get("tiers"), table.get("band", 0)
        if not isinstance(tiers, list) or [grade for grade in grades if grade in tiers] != tiers:
            raise ValueError(f"Write tiers = some of {grades}, best first: a tier holds the grades down to its own.")
        if "band" in table:
            whole_number(band, least=1)
        return cls(tuple(tiers), band) if tiers else None

    def to_toml(self) -> dict[str, Any]:
        return {"tiers": list(self.tiers)} | ({"band": self.band} if self.band else {})

    def order(self, grade: np.ndarray, score: np.ndarray, request: np.ndarray | int = 0) -> np.ndarray:
        """int64 [n]: whoever has the higher number comes first; 0 = in no tier.

        `grade` (RELEVANCE_GRADES) and retrieval `score` of candidates, those of one `request` among themselves.
        """
        tier = np.searchsorted(sorted(RELEVANCE_GRADES[name] for name in self.tiers), grade, side="right")
        if not self.band:
            return tier
        group = np.asarray(request) * (len(self.tiers) + 1) + tier
        band = np.minimum(before(group, score) // self.band, MOST_BANDS - 1)
        return np.where(tier > 0, tier * MOST_BANDS - band, 0)

    def limits(self, attributes: ItemAttributes, *, rules: Sequence[SlateRule]) -> list[Limit]:
        return [BestFirst(attributes[RELEVANCE])]


@dataclass(frozen=True)
class Unheeded:
    """Of home: what one of the shopper's last so many lists showed, and was not touched since, comes after all else."""

    lists: int
    key: ClassVar[str] = "unheeded"
    example: ClassVar[str] = "unheeded = 2"
    surfaces: ClassVar[tuple[str, ...]] = ("home",)
    reads: ClassVar[tuple[str, ...]] = (LISTS_SINCE,)

    @classmethod
    def from_toml(cls, entry: Any) -> Unheeded | None:
        whole_number(entry, least=0)
        if entry > MOST_LISTS:
            raise ValueError(f"Write {MOST_LISTS} or less: of so many lists of a shopper is known what they showed.")
        return cls(entry) if entry else None

    def to_toml(self) -> int:
        return self.lists

    def left(self, lists_since: np.ndarray) -> np.ndarray:
        """bool [n]: whether an item was shown so many lists ago (0 = in none) and left."""
        return (lists_since > 0) & (lists_since <= self.lists)

    def limits(self, attributes: ItemAttributes, *, rules: Sequence[SlateRule]) -> list[Limit]:
        return [LastResort(self.left(attributes[LISTS_SINCE]))]


def before(group: np.ndarray, score: np.ndarray) -> np.ndarray:
    """int64 [n]: how many of the same group have a higher score."""
    order = np.lexsort((-score, group))
    place = np.arange(len(order))
    new_group = np.append(True, np.diff(group[order]) != 0)[: len(order)]
    new_score = new_group | np.append(True, np.diff(score[order]) != 0)[: len(order)]
    higher = np.empty(len(order), np.int64)
    start, first = (np.maximum.accumulate(np.where(new, place, 0)) for new in (new_group, new_score))
    higher[order] = first - start
    return higher


def whole_number(number: Any, *, least: int) -> None:
    """Raises ValueError with what to write instead."""
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ValueError(f"Write a whole number, {least} or more.")


def number(amount: Any, *, above: float, most: float, name: str) -> None:
    """Raises ValueError with what to write instead."""
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not above < amount <= most:
        raise ValueError(f"Write {name} = a number above {above:g} and at most {most:g}.")


MOST_BANDS = 1_000  # of a tier
# What rules read of items beside the attributes that the catalogue tells of them.
NO_CAPS = frozenset(("merchant", "category", "newcomer", "new_item", "embedding", RELEVANCE, LISTS_SINCE))

# In the order in which they are written and applied: relevance before all else, caps before quotas, which count what
# the caps leave, and what was left unheeded after all that is promised.
RULES: tuple[type[SlateRule], ...] = (
    Relevance,
    MerchantCap,
    CategoryCap,
    AttributeCaps,
    Newcomers,
    NewItems,
    Unheeded,
)
