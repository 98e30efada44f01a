"""One request's path, in a straight line, without HTTP.

    store(user) -> query tower -> retriever -> store(items) -> scorer -> formula (+ merchant) -> policy
        -> Slate -> log.append -> answer

The answer is a function of the bundle, the request, its seed, and what the store and the merchants' shadow prices
learned from the log; everything that it was computed from is in the slate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import pyarrow as pa

from evaluation.experiments.exposure import exposure_cells
from features.spec import FeatureSpec
from features.store import SavedStore, SharedStore
from marketplace.catalogue_records import CatalogueReceipt, CatalogueUpdate, Subject
from marketplace.heads import composed, uncomposed
from marketplace.log import CatalogueMoved, Log, Receipt
from marketplace.schema import LISTS_SINCE, TIER
from marketplace.slate import Slate
from serving.admission import admitted, further
from serving.arms import NO_VARIANTS, ArmBuilder, RequestVariants
from serving.candidate_budget import CandidateBudget
from serving.candidate_features import CandidateFeatures, candidate_features, first_ranking
from serving.deadline import NO_DEADLINE, Deadline
from serving.feedback_checks import NO_DETAILS, OrderDetails, Sender, checked
from serving.following import Follower
from serving.ladder import Ladder
from serving.live_catalogue import LiveCatalogue
from serving.live_experiments import LiveExperiments
from serving.machine_log import MachineLog
from serving.pacing import Pacing
from serving.parts import Parts
from serving.plain_list import plain_slate
from serving.prediction_cache import PredictionCache
from serving.recording import ATTEMPTS, recorded
from serving.request import Request
from serving.rule_attributes import attribute_entries
from serving.rungs import STOOD_IN, rung_of
from serving.scorer import Scorer, scored
from serving.service import PolicyNotLoaded, Preview, Ranking, ServiceState
from serving.shared_following import SharedFollower, TaughtElsewhere
from serving.slate_builder import ScoredCandidates, build_slate
from serving.slate_selection import SlateContext
from serving.soundness import finite_candidates
from serving.stages import Stages
from serving.store_checkpoint import StoreCheckpoint
from serving.valuation import Values
from value_model.formula import ValuePolicy


class RankingEngine:
    """Answers requests with logged slates: a `RankingService`, and the `ServiceProvider` of its one bundle.

    `live` moves the parts' catalogue as the log's records say; `clock` measures the stages, in seconds; `checkpoint`
    None = what the store learns from the log is kept nowhere. A shared store is taught elsewhere where `log` is that of
    a machine among several.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        store: SavedStore | SharedStore,
        log: Log,
        live: LiveCatalogue,
        experiments: LiveExperiments,
        checkpoint: StoreCheckpoint | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.parts, self.store, self.log, self.live, self._clock = parts, store, log, live, clock
        self.experiments = experiments
        exposure = parts.valuation.exposure
        self.pacing = None if exposure is None else Pacing(exposure, parts.item_table, version=parts.versions["policy"])
        self._budget = CandidateBudget()
        heads = tuple(head.name for head in uncomposed(parts.scorer.heads))
        self._ladder = Ladder(PredictionCache(heads, n_items=len(parts.item_table)), clock=clock)
        since, every = parts.known_until, parts.config.follow_seconds
        self._follower: Follower | SharedFollower | TaughtElsewhere
        if isinstance(store, SharedStore):
            live.numbers = store.begun
            if isinstance(log, MachineLog):
                self._follower = TaughtElsewhere(live, every=every)
            else:
                self._follower = SharedFollower(log, store, since=since, every=every, live=live)
        else:
            self._follower = Follower(
                log, store, since=since, every=every, pacing=self.pacing, checkpoint=checkpoint, live=live
            )
        self._follower.follow(at_once=True)

    def close(self) -> None:
        """Keep what was learned from the log for the next to start."""
        self._follower.close()
        for engine in self.experiments.engines:
            engine.close()

    def read_log(self) -> None:
        """Learn at once what is on record."""
        self._follower.follow(at_once=True)

    def follow(self) -> None:
        """Follow the experiments."""
        self.experiments.follow()

    def renew(self, parts: Parts, builder: ArmBuilder) -> None:
        """Serve other policies over the same models: answer with `parts`, make experiments' arms with `builder`."""
        self.parts = parts
        self.experiments.renew(parts, builder)

    def current(self) -> RankingEngine:
        return self

    @property
    def state(self) -> ServiceState:
        moving, content = self.live.parts.index, self.experiments.content
        index = None if moving is None else moving.state
        return ServiceState(self.parts.bundle, self.parts.versions, experiments=content, index=index)

    @property
    def outgrown(self) -> bool:
        return bool(self.live.waiting) or any(engine.outgrown for engine in self.experiments.engines)

    @property
    def currency(self) -> str:
        return self.parts.currency

    @property
    def policy(self) -> ValuePolicy:
        return self.parts.valuation.policy

    @property
    def spec(self) -> FeatureSpec:
        return self.parts.encoder.spec

    def rank(self, request: Request, *, deadline: Deadline = NO_DEADLINE) -> Ranking:
        """The slate of `request`, after it is on record.

        A slate is made again where the catalogue moved under it: what it shows could be shown when it was recorded.
        Raises UnknownName for a page or words of a filter that the catalogue does not hold, for a cursor that the log
        does not, and where none of the caller's candidates may be shown; BadRequest for a cursor of another list;
        DuplicateRequest when the log holds this shopper's slate of another request under the id (of the same one: it
        answers again); CatalogueMoved where the catalogue
        moves faster than the request is answered; ClientGone where nobody waits for it: nothing is shown then.
        """
        assigned = self.experiments.of(request)
        if assigned.bundle is None:
            return self.rank_under(request, assigned, deadline)
        ranking = assigned.bundle.engine.rank_under(request, assigned, deadline)
        return replace(ranking, without_unit=assigned.without_unit)

    def rank_under(self, request: Request, assigned: RequestVariants, deadline: Deadline) -> Ranking:
        """What `rank` does, of a request that is in these variants."""
        stages = Stages(self._clock)
        for _ in range(ATTEMPTS):
            ranking = self._of_ladder(request, stages, assigned, deadline)
            deadline.check()
            record = recorded(ranking.slate, request, self.log, self.live)
            stages.mark("log")
            if record is None:
                continue
            if not record.repeated:
                self._follower.logged(record.slate)
                self._learn(ranking, stages)
            if record.slate is ranking.slate:
                return ranking
            return replace(ranking, slate=record.slate, further=further(request, record.slate))
        raise CatalogueMoved(f"{request.request_id!r}: the catalogue moves faster than it can be answered; try again")

    def _of_ladder(self, request: Request, stages: Stages, assigned: RequestVariants, deadline: Deadline) -> Ranking:
        """What the highest rung answers (`serving.ladder`)."""
        parts = self.parts.for_shopper(request.user_id).under(assigned.arms)

        def ranked(scorer: Scorer | None) -> Ranking:
            self._follower.follow()
            stages.mark("follow")
            under = parts if scorer is None else replace(parts, scorer=scorer)
            return self.answer(request, stages, parts=under, assigned=assigned, deadline=deadline)

        def listed(rung: str, reason: str) -> Ranking:
            admission = admitted(request, parts.item_table, self.live.parts.availability, self.log)
            exposure = exposure_cells({**parts.trial, **assigned.variants})
            slate = plain_slate(admission.request, parts, rung=rung, reason=reason, exposure=exposure)
            stages.mark("slate")
            return admission.ranking(slate, stages, without_unit=assigned.without_unit)

        late, kind = deadline.left() <= 0, (request.surface, parts.versions["policy"])
        return self._ladder.answer(ranked, listed, late=late, request_id=request.request_id, kind=kind)

    def _learn(self, ranking: Ranking, stages: Stages) -> None:
        """From a slate of the ranker's that was just logged."""
        if ranking.rows is not None and rung_of(ranking.slate) not in STOOD_IN:
            self._budget.learn(stages.seconds, candidates=ranking.slate.considered)
            self._ladder.cache.learn(ranking.rows, ranking.slate.predictions)

    def preview(self, request: Request, *, policy: ValuePolicy | None = None) -> Preview:
        """What `rank` would answer, under another `policy` if there is one; on record nowhere.

        Raises what `answer` raises, and BundleError for a policy that these models cannot serve.
        """
        assigned = self.experiments.of(request)
        engine = self if assigned.bundle is None else assigned.bundle.engine
        return engine.preview_under(request, assigned, policy)

    def preview_under(self, request: Request, assigned: RequestVariants, policy: ValuePolicy | None) -> Preview:
        """What `preview` does, of a request that is in these variants."""
        self._follower.follow()
        arm = None if policy is None else self.experiments.arm_of(policy)
        tried = assigned if arm is None else replace(assigned, arms=(*assigned.arms, arm))
        ranking = self.answer(request, Stages(self._clock), assigned=tried)
        terms = self.explain(ranking.slate) if arm is None else arm.valuation.explain(ranking.slate)
        return Preview(ranking, terms, self._names(ranking.slate))

    def _names(self, slate: Slate) -> list[str]:
        """What the items of a slate are called, their ids where they have no name."""
        names = self.store.catalogue.names.take(pa.array(self.parts.item_table.rows(slate.item_id)))
        return [name or item for name, item in zip(names.to_pylist(), slate.item_id.tolist(), strict=True)]

    def answer(
        self,
        request: Request,
        stages: Stages,
        *,
        parts: Parts | None = None,
        assigned: RequestVariants = NO_VARIANTS,
        deadline: Deadline = NO_DEADLINE,
    ) -> Ranking:
        """What `rank_under` puts on record, or would with other `parts`; raises UnknownName.

        Near the deadline the best candidates by retrieval are ranked alone; the caller's own are ranked all.
        """
        parts = parts or self.parts.for_shopper(request.user_id).under(assigned.arms)
        exposure = exposure_cells({**parts.trial, **assigned.variants})
        admission = admitted(request, parts.item_table, self.live.parts.availability, self.log)
        request = admission.request
        known = candidate_features(request, parts, self.store, budget=self._budget, deadline=deadline, stages=stages)
        if parts.first_phase is not None and request.candidates is None:
            known = self._leading(parts, parts.first_phase, request, known)
            stages.mark("first_phase")
        slate, left_out, rows = self._slate(parts, request, known, exposure, stages)
        stages.mark("slate")
        return admission.ranking(slate, stages, left_out=left_out, without_unit=assigned.without_unit, rows=rows)

    def logged(self, request_id: str) -> Slate:
        """A slate on record; raises UnknownRequest."""
        return self.log.slate(request_id)

    def explain(self, slate: Slate) -> Mapping[str, np.ndarray]:
        """Value per term, float64 [n] each, summing to the slate's values; raises PolicyNotLoaded."""
        other = self.experiments.engine_of(slate)
        if other is not None:
            return other.explain(slate)
        parts = self.parts.of_slate(slate)
        if parts.versions["policy"] != slate.policy_version:
            raise PolicyNotLoaded(f"it was ranked by policy {slate.policy_version}, which does not serve now")
        return parts.valuation.explain(slate)

    def record(
        self, feedback: pa.Table, *, sender: Sender = Sender.ANYBODY, details: OrderDetails = NO_DETAILS
    ) -> Receipt:
        """What became of a FEEDBACK table, after it is on record and the store knows what is believed of it."""
        batch = checked(feedback, self.log, sender=sender, details=details)
        receipt = self.log.append_feedback(batch.events, reasons=batch.reasons, order_keys=batch.order_keys)
        self.read_log()
        for engine in self.experiments.engines:
            engine.read_log()
        return receipt

    def put_catalogue(
        self, subject: Subject, updates: Sequence[CatalogueUpdate], *, time: datetime
    ) -> CatalogueReceipt:
        """What became of updates that arrived at `time`, after they are on record and this engine serves by them."""
        receipt = self.log.put_catalogue(subject, updates, known=self.parts.item_table.row, time=time)
        self.live.follow()
        return receipt

    def _leading(self, parts: Parts, scorer: Scorer, request: Request, known: CandidateFeatures) -> CandidateFeatures:
        """The candidates that the ranker is asked about: as many of the best by the first phase as the bundle says."""
        most = parts.config.ranked
        if len(known.rows) <= most:
            return known
        values = self._values(parts, request, known, composed(scorer.score(known.inputs, items=known.rows)))
        context = self._context(parts, request, known, np.arange(len(known.rows)))
        kept = parts.slate_selector.shortlist(values, known.rows, context=context, least=most)
        return known.only(kept, first_ranking(values.value))

    def _values(
        self, parts: Parts, request: Request, known: CandidateFeatures, heads: Mapping[str, np.ndarray]
    ) -> Values:
        return parts.valuation.value_candidates(
            {**heads, "price": known.snapshot.state.price, "retrieval_score": known.candidates.score},
            known.inputs,
            known.rows,
            time=request.time,
            surface=request.surface,
            segment=known.segment,
            seed=request.draw_seed,
            shadow_price=None if self.pacing is None else self.pacing.price(known.rows),
        )

    def _context(self, parts: Parts, request: Request, known: CandidateFeatures, among: np.ndarray) -> SlateContext:
        """What the choice among some of the candidates (positions) depends on."""
        relevance, since = None if known.relevance is None else known.relevance[among], None
        if LISTS_SINCE in parts.slate_selector.reads(request.surface):
            since = known.snapshot.state[LISTS_SINCE][among].astype(np.float32)
        return SlateContext(request.k, request.time, request.surface, relevance=relevance, lists_since=since)

    def _slate(
        self,
        parts: Parts,
        request: Request,
        known: CandidateFeatures,
        exposure: Mapping[str, str],
        stages: Stages,
    ) -> tuple[Slate, int, np.ndarray]:
        """The slate, how many candidates had no finite numbers, and the catalogue rows of those that it holds.

        `exposure`: its experiments' columns.
        """
        rows, candidates = known.rows, known.candidates
        predictions = scored(parts.scorer, known.inputs, items=rows)
        heads = composed(predictions)
        stages.mark("score")
        values = self._values(parts, request, known, heads)
        stages.mark("value")
        columns = {**heads, "value": values.value, "merchant_value": values.merchant_value, "score": candidates.score}
        sound = finite_candidates(columns, rows, item_id=parts.item_table.item_id, request_id=request.request_id)
        context = self._context(parts, request, known, sound)
        choosable = values if len(sound) == len(rows) else values.only(sound)
        shortlist, choice = parts.slate_selector.select(choosable, rows[sound], context=context, seed=request.draw_seed)
        logged = {TIER: context.relevance, LISTS_SINCE: context.lists_since}
        further = {name: column[shortlist].astype(np.float32) for name, column in logged.items() if column is not None}
        shortlist = sound[shortlist]
        stages.mark("choose")
        slate = build_slate(
            request,
            ScoredCandidates(known, heads, values, getattr(predictions, "by", "")),
            shortlist,
            choice,
            item_table=parts.item_table,
            versions=parts.versions,
            currency=parts.currency,
            exposure=exposure,
            further=further | self._changed_attributes(parts, rows[shortlist], context),
        )
        return slate, len(rows) - len(sound), rows[shortlist]

    def _changed_attributes(self, parts: Parts, rows: np.ndarray, context: SlateContext) -> dict[str, np.ndarray]:
        """What the slate policy read of items, where one of them is not as the bundle knows it."""
        if not self.live.rewritten[rows].any():
            return {}
        plain = replace(context, relevance=None, lists_since=None)
        return attribute_entries(parts.slate_selector.attributes(rows, context=plain))
