"""One request's path, in a straight line, without HTTP.

    store(user) -> query tower -> retriever -> store(items) -> scorer -> formula (+ merchant) -> policy
        -> Slate -> log.append -> answer

The answer is a function of the bundle, the request, its seed, and what the store and the merchants' shadow prices
learned from the log; everything that it was computed from is in the slate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pyarrow as pa

from features.encoder import Encoder
from features.snapshot import FeatureSnapshot
from features.spec import Group, ModelInputs
from features.store import FeatureStore
from marketplace.log import Log
from marketplace.slate import Slate
from serving.candidate_generation import CandidateGenerator, GeneratedCandidates, check_names, given, segment_of
from serving.config import ServingConfig
from serving.following import Follower
from serving.item_table import ItemTable
from serving.pacing import Pacing
from serving.request import Request, seed_of
from serving.scorer import Scorer
from serving.service import ServiceState
from serving.slate_selection import SlateContext, SlateSelector
from serving.slates import ScoredCandidates, build_slate, numbers_of
from serving.stages import Stages
from serving.valuation import Valuation
from value_model.rankers.ranker import composed
from value_model.slate_policies.shadow_prices import SHADOW_PRICE

NO_ROWS = np.empty(0, np.int32)


@dataclass(frozen=True, eq=False)
class Parts:
    """What an engine is made of.

    `versions` has the six names of `serving.answers.VERSIONS`; a bundle's own store knows what happened before
    `known_until`, and the log tells the rest.
    """

    bundle: str
    versions: Mapping[str, str]
    currency: str
    known_until: datetime
    config: ServingConfig
    encoder: Encoder
    shelf: ItemTable
    finder: CandidateGenerator
    scorer: Scorer
    valuation: Valuation
    chooser: SlateSelector


class RankingEngine:
    """Answers requests with logged slates; follows `serving.service.RankingService`, and is its own `Services`.

    `clock` measures the stages, in seconds.
    """

    def __init__(
        self, parts: Parts, *, store: FeatureStore, log: Log, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.parts, self.store, self.log, self._clock = parts, store, log, clock
        exposure = parts.valuation.exposure
        self.pacing = None if exposure is None else Pacing(exposure, parts.shelf, version=parts.versions["policy"])
        self._follower = Follower(
            log, store, since=parts.known_until, every=parts.config.follow_seconds, pacing=self.pacing
        )
        self._follower.follow()
        self.seconds: Mapping[str, float] = {}

    def current(self) -> RankingEngine:
        return self

    @property
    def state(self) -> ServiceState:
        return ServiceState(self.parts.bundle, self.parts.versions)

    @property
    def currency(self) -> str:
        return self.parts.currency

    def rank(self, request: Request) -> Slate:
        """The slate of `request`, after it is on record.

        Raises UnknownName for a page or candidates that the catalogue does not hold, and
        `marketplace.log.DuplicateRequest` when the log holds a slate of this request id.
        """
        stages, shelf = Stages(self._clock), self.parts.shelf
        check_names(request, shelf)
        self._follower.follow()
        stages.mark("follow")
        asker = self.store.lookup(request, NO_ROWS)
        asked = asker.user_inputs(self.parts.encoder, shelf.encoded)
        segment = segment_of(request, asker, name=self.parts.config.segment)
        stages.mark("store_user")
        found = self._candidates(request, asked, segment, stages)
        known = self.store.lookup(request, found.rows, price=shelf.price[found.rows], snapshot=asker)
        stages.mark("store_items")
        inputs = with_items(asked, known, shelf, found.rows)
        stages.mark("encode")
        slate = self._slate(request, found, known, inputs, segment, stages)
        stages.mark("slate")
        self.log.append(slate)
        self._follower.logged(slate)
        stages.mark("log")
        self.seconds = stages.seconds
        return slate

    def unknown(self, request: Request) -> list[str]:
        """The request's own candidates that the catalogue does not hold."""
        return [name for name in request.candidates or () if name not in self.parts.shelf.row]

    def explain(self, slate: Slate) -> Mapping[str, np.ndarray]:
        """Value per term, float64 [n] each, summing to the slate's values."""
        return self.parts.valuation.explain(slate)

    def record(self, feedback: pa.Table) -> tuple[int, int]:
        """(accepted, duplicates) of a FEEDBACK table, after it is on record and the store knows it."""
        receipt = self.log.append_feedback(feedback)
        self._follower.follow(at_once=True)
        return receipt.accepted, receipt.duplicates

    def _candidates(self, request: Request, asked: ModelInputs, segment: str, stages: Stages) -> GeneratedCandidates:
        """The caller's candidates, or the retriever's."""
        if request.candidates is not None:
            return given(request, self.parts.shelf)
        embedding = self.parts.finder.embed(asked)
        stages.mark("embed")
        found = self.parts.finder.find(
            request,
            history=self._history(request),
            segment=segment,
            embedding=embedding,
            k=self.parts.config.candidates,
        )
        stages.mark("retrieve")
        return found

    def _history(self, request: Request) -> np.ndarray:
        """What the shopper touched, newest last; the item of a product page counts as touched now."""
        history = self.store.history(request.user_id)
        if request.page_item_id is None:
            return history
        page = self.parts.shelf.row[request.page_item_id]
        return np.append(history[history != page], np.int32(page))

    def _slate(
        self,
        request: Request,
        found: GeneratedCandidates,
        known: FeatureSnapshot,
        inputs: ModelInputs,
        segment: str,
        stages: Stages,
    ) -> Slate:
        parts, rows, seed = self.parts, found.rows, seed_of(request)
        heads = composed(parts.scorer.score(inputs, items=rows))
        stages.mark("score")
        quantities = parts.valuation.quantities_of(rows, time=request.time)
        if self.pacing is not None:
            quantities[SHADOW_PRICE] = self.pacing.price(rows)
        features = inputs.numbers(parts.encoder.spec, parts.valuation.features) if parts.valuation.features else {}
        columns = {**features, **quantities, **heads, "price": known.state.price, "retrieval_score": found.score}
        valued = parts.valuation.value(columns, surface=request.surface, segment=segment, seed=seed)
        judged = ScoredCandidates(found, numbers_of(inputs), heads, quantities, valued)
        stages.mark("value")
        context = SlateContext(request.k, request.time, request.page_merchant_id is not None)
        judged = judged.only(parts.chooser.shortlist(valued, rows, context=context))
        chosen = parts.chooser.choose(judged.valued, judged.found.rows, context=context, seed=seed)
        stages.mark("choose")
        return build_slate(
            request,
            judged,
            known,
            chosen,
            considered=len(rows),
            segment=segment,
            shelf=parts.shelf,
            versions=parts.versions,
            currency=parts.currency,
        )


def with_items(asked: ModelInputs, known: FeatureSnapshot, shelf: ItemTable, rows: np.ndarray) -> ModelInputs:
    """The model inputs of one request, whose user group is encoded already, and its candidates."""
    return replace(
        asked,
        item_codes=shelf.encoded.codes[rows],
        item_lists=shelf.encoded.lists[rows],
        item_numbers=shelf.numbers[rows],
        cross_numbers=known.numbers(Group.CROSS),
        request=np.zeros(len(rows), np.int32),
    )
