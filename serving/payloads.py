"""What callers may send and what they get back: the models that validate are the ones that document.

Unknown fields are refused, numbers are finite, times carry their zone, and every list and text has a limit.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from evaluation.experiments.experiment_folder import Phase
from features.spec import FeatureSpec, Source
from marketplace.heads import HEADS
from retrieval.item_filter import NO_FILTER, ItemFilter
from serving.request import Request
from serving.sent_features import sent_features

MAX_BODY_BYTES = 1 << 20
MAX_CANDIDATES = 1000
MAX_EVENTS = 1000
MAX_SHOWN = 200
MAX_WORDS = 100  # of one condition of a filter
MAX_CONTEXT = 20
MAX_FEATURES = 500

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Label = Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]
Search = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Cell = Annotated[float | bool | Label | None, Field(description="a number, yes or no, or a word; null = missing")]
Price = Annotated[float, Field(ge=0, le=1e9)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)  # what lies outside is no clock


def _plausible(time: datetime) -> datetime:
    if not EARLIEST <= time < LATEST:
        raise ValueError(f"the year is {time.year}; send a time from 1970 to 2199")
    return time


Moment = Annotated[AwareDatetime, AfterValidator(_plausible)]
Surface = Literal["home", "search", "store_page", "product_page"]
Event = Literal["impression", "click", "cart", "order", "return", "view", "wishlist"]


class Strict(BaseModel):
    """Nothing unknown, nothing coerced, nothing infinite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def examples(*contents: dict[str, Any]) -> ConfigDict:
    """The setting of a model that documents it with these contents."""
    return ConfigDict(json_schema_extra={"examples": list(contents)})


class AnyRequest(Strict):
    """Ranking request: what both routes take."""

    surface: Surface = Field(description="where the list is shown")
    user_id: Identifier = Field(description="the shopper")
    request_id: Identifier | None = Field(default=None, description="unique name of the request; made up when absent")
    time: Moment | None = Field(default=None, description="RFC 3339 with a zone; now when absent, never in the future")
    session_id: Identifier | None = Field(default=None, description="the visit")
    query: Search | None = Field(default=None, description="search text; the search surface only")
    page_merchant_id: Identifier | None = Field(default=None, description="whose store page it is; store_page only")
    page_item_id: Identifier | None = Field(default=None, description="whose product page it is; product_page only")
    context: dict[Label, Label] = Field(
        default_factory=dict, max_length=MAX_CONTEXT, description="what else is known: country, device, city"
    )
    features: dict[Label, Cell] = Field(
        default_factory=dict, max_length=MAX_FEATURES, description="mapped features of the request, by name"
    )
    k: int = Field(default=20, ge=1, le=MAX_SHOWN, description="items to show")
    explain: bool = Field(default=False, description="answer with each item's contribution per term of its value")
    seed: int | None = Field(
        default=None, ge=0, lt=1 << 63, description="decides random draws; derived from request_id when absent"
    )

    @model_validator(mode="after")
    def _page_matches_surface(self) -> Self:
        needed = {"search": "query", "store_page": "page_merchant_id", "product_page": "page_item_id"}.get(self.surface)
        for name in ("query", "page_merchant_id", "page_item_id"):
            present = getattr(self, name) is not None
            if present and name != needed:
                raise ValueError(f"{name} does not belong to surface {self.surface!r}; leave it out")
            if name == needed and not present:
                raise ValueError(f"surface {self.surface!r} needs {name}")
        return self

    def to_request(self, *, request_id: str, now: datetime, spec: FeatureSpec) -> Request:
        """The engine's request; `request_id` and `now` stand in where the caller gave none.

        Raises BadRequest for mapped features that `spec` does not have.
        """
        cells = {name: [cell] for name, cell in self.features.items()}
        numeric, categorical = sent_features(cells, spec, Source.REQUEST, rows=1, where="features")
        return Request(
            request_id=self.request_id or request_id,
            time=self.time or now,
            surface=self.surface,
            user_id=self.user_id,
            k=self.k,
            session_id=self.session_id,
            query=self.query,
            page_merchant_id=self.page_merchant_id,
            page_item_id=self.page_item_id,
            context=self.context,
            seed=self.seed,
            numeric=numeric,
            categorical=categorical,
        )


class Filters(Strict):
    """Which items may be shown: all conditions hold at once, within a list one of its words must."""

    categories: list[Label] = Field(default_factory=list, max_length=MAX_WORDS)
    merchants: list[Identifier] = Field(default_factory=list, max_length=MAX_WORDS)
    price_from: Price | None = Field(default=None, description="in the market's currency, included")
    price_to: Price | None = Field(default=None, description="in the market's currency, included")
    attributes: dict[Label, list[Label]] = Field(
        default_factory=dict, max_length=MAX_CONTEXT, description="by attribute, such as brand, the words allowed"
    )

    @model_validator(mode="after")
    def _price_range(self) -> Self:
        if self.price_from is not None and self.price_to is not None and self.price_from > self.price_to:
            raise ValueError(f"price_from {self.price_from:g} lies above price_to {self.price_to:g}")
        if many := [name for name, words in self.attributes.items() if len(words) > MAX_WORDS]:
            raise ValueError(f"attributes.{many[0]} has more than {MAX_WORDS} words")
        return self

    def to_item_filter(self) -> ItemFilter:
        """The same as retrieval reads it."""
        return ItemFilter(
            categories=tuple(self.categories),
            merchants=tuple(self.merchants),
            price_from=self.price_from,
            price_to=self.price_to,
            attributes={name: tuple(words) for name, words in self.attributes.items()},
        )


class RecommendRequest(AnyRequest):
    """Retrieve candidates from the catalogue, and rank them."""

    model_config = examples({"surface": "search", "user_id": "u1", "query": "coffee", "k": 10, "session_id": "s1"})

    exclude: list[Identifier] = Field(
        default_factory=list, max_length=MAX_CANDIDATES, description="items that must not be shown"
    )
    exclude_merchants: list[Identifier] = Field(default_factory=list, max_length=MAX_WORDS)
    exclude_categories: list[Label] = Field(default_factory=list, max_length=MAX_WORDS)
    filters: Filters | None = Field(default=None, description="which items may be shown; none = any in stock")
    cursor: Identifier | None = Field(
        default=None,
        description="of an earlier answer to this shopper on this page: what it and those before it showed is out",
    )

    def to_request(self, *, request_id: str, now: datetime, spec: FeatureSpec) -> Request:
        request = super().to_request(request_id=request_id, now=now, spec=spec)
        filters = replace(
            NO_FILTER if self.filters is None else self.filters.to_item_filter(),
            without_categories=tuple(self.exclude_categories),
            without_merchants=tuple(self.exclude_merchants),
        )
        return replace(request, exclude=tuple(self.exclude), filters=filters, cursor=self.cursor)


class SearchRequest(RecommendRequest):
    """Search the catalogue: a recommendation on the search surface."""

    model_config = examples({"user_id": "u1", "query": "coffee", "k": 10, "filters": {"price_to": 30.0}})

    surface: Literal["search"] = "search"


class RankRequest(AnyRequest):
    """Rank the caller's own candidates."""

    model_config = examples({"surface": "home", "user_id": "u1", "candidates": ["i1", "i2"], "prices": [19.5, None]})

    candidates: list[Identifier] = Field(
        min_length=1, max_length=MAX_CANDIDATES, description="distinct items of the catalogue"
    )
    prices: list[Price | None] | None = Field(
        default=None,
        description="as shown, in the market's currency, one a candidate; null or absent = the catalogue's",
    )
    candidate_features: dict[Label, list[Cell]] = Field(
        default_factory=dict,
        max_length=MAX_FEATURES,
        description="mapped features of the candidates, by name, one value a candidate; null = missing",
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.candidates)) != len(self.candidates):
            seen: set[str] = set()
            repeat = next(name for name in self.candidates if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise ValueError(f"candidates must be distinct; {repeat!r} is repeated")
        return self

    @model_validator(mode="after")
    def _one_a_candidate(self) -> Self:
        columns = {"prices": self.prices or self.candidates} | {
            f"candidate_features.{name}": cells for name, cells in self.candidate_features.items()
        }
        for name, cells in columns.items():
            if len(cells) != len(self.candidates):
                raise ValueError(f"{name} has {len(cells)} values, and there are {len(self.candidates)} candidates")
        return self

    def to_request(self, *, request_id: str, now: datetime, spec: FeatureSpec) -> Request:
        request = super().to_request(request_id=request_id, now=now, spec=spec)
        rows = len(self.candidates)
        numeric, categorical = sent_features(
            self.candidate_features, spec, Source.CANDIDATE, rows=rows, where="candidate_features"
        )
        return replace(
            request,
            candidates=tuple(self.candidates),
            price=None if self.prices is None else np.array(self.prices, np.float64),
            numeric={**request.numeric, **numeric},
            categorical={**request.categorical, **categorical},
        )


class FeedbackEvent(Strict):
    """One thing that a shopper did."""

    feedback_id: Identifier = Field(description="unique name of the event; a repeat is counted as a duplicate")
    request_id: Identifier | None = Field(default=None, description="the slate that it answers, where there is one")
    event: Event
    time: Moment = Field(description="RFC 3339 with a zone")
    user_id: Identifier
    item_id: Identifier
    amount: float | None = Field(default=None, ge=0, le=1e9, description="order or refund amount, in currency")
    currency: Currency | None = Field(default=None, description="ISO 4217; that of the market")
    session_id: Identifier | None = None
    order_id: Identifier | None = Field(
        default=None, description="the order that an `order` belongs to: counted once an item, whatever the feedback_id"
    )
    quantity: int | None = Field(default=None, ge=1, le=1000, description="units that the amount is for")

    @model_validator(mode="after")
    def _amount_has_currency(self) -> Self:
        if self.event == "order" and self.amount is None:
            raise ValueError("an order needs its amount")
        if self.amount is not None and self.currency is None:
            raise ValueError("an amount needs its currency")
        return self


class FeedbackRequest(Strict):
    """A batch of feedback."""

    model_config = examples(
        {
            "events": [
                {
                    "feedback_id": "f1",
                    "request_id": "r1",
                    "event": "order",
                    "time": "2026-03-01T12:00:00+03:00",
                    "user_id": "u1",
                    "item_id": "i1",
                    "amount": 19.5,
                    "currency": "SAR",
                    "order_id": "o1",
                    "quantity": 1,
                }
            ]
        }
    )

    events: list[FeedbackEvent] = Field(min_length=1, max_length=MAX_EVENTS)


class FeedbackAnswer(BaseModel):
    """What became of a batch."""

    accepted: int = Field(description="events that were new, and are now on record")
    duplicates: int = Field(description="events whose feedback_id was already on record")
    quarantined: dict[str, int] = Field(description="events that are not believed, by reason; nothing learns from them")


class RequestId(Strict):
    """Which slate."""

    request_id: Identifier = Field(description="of its answer")


class ShownItem(BaseModel):
    """One item of the slate, in the order shown."""

    item_id: str
    merchant_id: str
    position: int = Field(description="1-based; the next page goes on where this one ends")
    price: float = Field(description="in the slate's currency")
    value: float = Field(description="the value formula's result, in its unit")
    merchant_value: float = Field(description="currency per impression")
    predictions: dict[str, float] = Field(description="per head: " + ", ".join(head.name for head in HEADS))
    source: str | None = Field(
        default=None, description="the candidate source that proposed it; to keys of scope test alone"
    )
    retrieval_score: float
    propensity: float | None = Field(description="P(this item here | the items above it)")
    contributions: dict[str, float] | None = Field(
        default=None, description="value per term; they sum to value; null = not sent for, or by no policy that serves"
    )


class SlateAnswer(BaseModel):
    """The ranking, with the versions that made it."""

    request_id: str
    time: datetime
    surface: str
    currency: str
    considered: int = Field(description="candidates that were scored")
    match: Literal["all", "part", "none"] | None = Field(
        default=None, description="of a search: whether the best item answers all its words, part, or none (a fallback)"
    )
    unknown_candidates: list[str] = Field(description="the caller's candidates that the catalogue does not hold")
    unavailable_candidates: dict[str, str] = Field(
        description="those that may not be shown, by id, and why: out of stock, hidden, expired, ..."
    )
    versions: dict[str, str]
    experiments: dict[str, str] = Field(description="the variant of each experiment that the request is in")
    cursor: str | None = Field(description="send it for the next page; null = this is the last")
    items: list[ShownItem]


class Problem(BaseModel):
    """One reason for a refusal."""

    field: str = Field(description="where, as a dotted path; empty = the request as a whole")
    message: str


class Refusal(BaseModel):
    """Every answer that is not a success: problem details (RFC 9457)."""

    type: Literal["about:blank"]
    title: str = Field(description="the status in words")
    status: int
    detail: str = Field(description="what was received, and what to do")
    problems: list[Problem] = Field(description="by field, where the request is malformed")


class Health(BaseModel):
    """Alive."""

    status: Literal["ok"]


class ServedExperiment(BaseModel):
    """An experiment that is followed, and where it stands."""

    version: str
    phase: Phase
    start: datetime
    end: datetime
    step: int = Field(description="of the ramp, from 1")
    shares: dict[str, float] = Field(description="by variant, of the units that may take part; 0 = not served")
    stopped: dict[str, str] = Field(description="variants that are back on what is in force, and why")


class Readiness(BaseModel):
    """Whether requests can be answered, with what, and what went wrong with the last reload."""

    ready: bool
    bundle: str | None
    versions: dict[str, str]
    experiments: dict[str, ServedExperiment]
    experiment_faults: dict[str, str] = Field(description="by file: why it is not followed; the last good state serves")
    reload_problem: str | None = Field(description="why the newest bundle was refused; the last good one still serves")
    log_problem: str | None = Field(description="why nothing can be logged now; requests are refused until it can")
