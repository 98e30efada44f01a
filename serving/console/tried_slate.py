"""Tried slate: the answer to a request that was only tried, as people read it: names, terms, sources, versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.experiments.exposure import exposed_variants
from serving.malformed import refused_by
from serving.payloads import RecommendRequest
from serving.service import Preview

ANONYMOUS = "visitor of the console"  # a shopper of whom nothing is known
SURFACES = ("home", "search", "store_page", "product_page")
ABOUT = {"search": "query", "store_page": "page_merchant_id", "product_page": "page_item_id"}
MOST_SHOWN = 50


@dataclass(frozen=True)
class TriedItem:
    """One place: its `terms` are as the slate's labels, in the formula's unit; `source` None = not for this caller."""

    place: int
    item_id: str
    name: str
    merchant_id: str
    source: str | None
    price: float
    value: float
    terms: tuple[float, ...]
    predictions: Mapping[str, float]


@dataclass(frozen=True)
class TriedSlate:
    """The shown items of one answer, best first; `seconds` it took, over `considered` candidates."""

    labels: tuple[str, ...]
    items: tuple[TriedItem, ...]
    heads: tuple[str, ...]
    currency: str
    considered: int
    seconds: float
    match: str | None
    versions: Mapping[str, str]
    variants: Mapping[str, str]

    def changes_from(self, before: TriedSlate) -> dict[str, int | None]:
        """By item that stands elsewhere than `before`: places won (below 0: lost); None = it is new."""
        places = {item.item_id: item.place for item in before.items}
        climbed = {i.item_id: places[i.item_id] - i.place if i.item_id in places else None for i in self.items}
        return {name: change for name, change in climbed.items() if change != 0}

    @property
    def longest(self) -> float:
        """The largest sum of an item's terms without their signs: the length of its bars."""
        return max((sum(map(abs, item.terms)) for item in self.items), default=0.0) or 1.0


def request_of(form: Mapping[str, str]) -> RecommendRequest:
    """The request that a form describes; raises Malformed by the payload's own rules."""
    surface = form.get("surface", "home")
    content: dict[str, object] = {"surface": surface, "user_id": form.get("user_id", "").strip() or ANONYMOUS}
    if (about := ABOUT.get(surface)) and form.get(about, "").strip():
        content[about] = form[about].strip()
    content["context"] = context_of(form.get("context", ""))
    k = form.get("k", "").strip()
    content["k"] = int(k) if k.isdecimal() else k or 10
    with refused_by(RecommendRequest):
        return RecommendRequest.model_validate(content)


def context_of(text: str) -> dict[str, str]:
    """`country=SA, device=phone` as entries; what has no "=" is an entry without a value."""
    pairs = (part.partition("=") for part in text.replace("\n", ",").split(",") if part.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def tried_slate(preview: Preview, *, with_source: bool) -> TriedSlate:
    """What of an answer is shown; an item's source tells what its shopper did before."""
    slate, terms = preview.ranking.slate, preview.terms
    shown = np.flatnonzero(slate.position > 0)
    shown = shown[np.argsort(slate.position[shown], kind="stable")]
    items = tuple(
        TriedItem(
            place=int(slate.position[row]),
            item_id=str(slate.item_id[row]),
            name=preview.names[row],
            merchant_id=str(slate.merchant_id[row]),
            source=str(slate.source[row]) if with_source else None,
            price=float(slate.price[row]),
            value=float(slate.value[row]),
            terms=tuple(float(column[row]) for column in terms.values()),
            predictions={head: float(column[row]) for head, column in slate.predictions.items()},
        )
        for row in shown.tolist()
    )
    return TriedSlate(
        labels=tuple(terms),
        items=items,
        heads=tuple(slate.predictions),
        currency=slate.currency,
        considered=slate.considered,
        seconds=sum(preview.ranking.seconds.values()),
        match=slate.match,
        versions=slate.versions,
        variants=exposed_variants(slate.experiment, slate.variant),
    )
