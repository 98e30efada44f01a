"""From a data set to what a ranker learns from: features as of each slate, labels from feedback, splits by time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.backfill import Backfill
from features.encoder import Encoder
from features.spec import FeatureFrame
from jobs.admission import OF_BASKETS
from jobs.data import kept
from jobs.earlier_run import earlier_run
from jobs.run_folder import RunFolder
from jobs.run_surfaces import recipes_of
from jobs.spark_work import backfill_of
from marketplace.attribution import Attribution, attribute, recorded_labels
from marketplace.dataset import Dataset
from marketplace.heads import heads_of, learned_heads
from marketplace.presentation import presentation
from marketplace.settled import (
    come_shares,
    settled_for_all,
    settled_labels,
    settled_requests,
    with_maturity,
    with_settled,
)
from marketplace.slate_columns import flat, request_of_rows, shown
from marketplace.splits import Periods, periods
from marketplace.treatment import arm_labels
from retrieval.basket_candidates import basket_candidates, labelled, sample
from retrieval.blend import load_blends
from retrieval.build import load_index
from retrieval.labelled_requests import LabelledRequests, features_of, labelled_requests
from retrieval.saved_sources import BLENDS
from retrieval.sources.run_sources import RunSources
from value_model.rankers.batches import request_offsets, take
from value_model.rankers.ranker import OpenLabel, RankingData

CANDIDATES = "basket_candidates.parquet"
NOTHING: Mapping[str, np.ndarray] = {}
LEAST_SETTLED = 0.5  # share of the requests below which periods are cut by all of them
FEWEST = (10, 1, 1)  # rows of an event in the training, validation and test period, for a head to be learned of it


@dataclass(frozen=True)
class TrainingRows:
    """R requests over N rows, and the period that each request belongs to; `segment` groups shoppers.

    `labels` (LABELS [N]) and `frame`, features before they are encoded: None where the rows were read from files, which
    hold of the `slates` what names a request alone (`value_model.rankers.row_files.REQUEST`).
    """

    slates: pa.Table
    encoder: Encoder
    data: RankingData
    period: Periods
    segment: str
    labels: pa.Table | None = None
    frame: FeatureFrame | None = None

    @cached_property
    def offsets(self) -> np.ndarray:
        """int64 [R + 1]: request r owns rows offsets[r]:offsets[r + 1]."""
        return request_offsets(self.data.inputs.request, len(self.slates))

    def part(self, requests: np.ndarray) -> RankingData:
        """The rows of some requests (bool [R])."""
        return take(self.data, np.flatnonzero(requests), offsets=self.offsets)

    def rows(self, requests: np.ndarray) -> np.ndarray:
        """bool [N]: the rows of some requests."""
        return requests[self.data.inputs.request]

    def offsets_of(self, requests: np.ndarray) -> np.ndarray:
        """int64 [r + 1]: offsets of some requests' rows once they are taken out."""
        return np.append(0, np.cumsum(np.diff(self.offsets)[requests]))


def prepare(run: RunFolder) -> TrainingRows | None:
    """The rows of a run whose retrieval is trained: recorded lists, or candidates as of each basket.

    None where they teach no head: nothing but views, or too few of every event. Rows of requests that are too young for
    an event have no label of it (`marketplace.settled`), unless the data set is closed: what it does not hold did not
    happen. Periods are cut by the settled requests, so that the last one can be judged. Training that goes on from an
    earlier run teaches the heads of that one, however few of their events are new.
    """
    dataset, earlier, backfilled = kept(run.path), earlier_run(run.config), backfill_of(run)
    heads = () if earlier is None else earlier.heads
    encoder = Encoder.from_json((run.path / "retrieval" / "encoder.json").read_text())
    ready = partial(_prepared, dataset, encoder=encoder, backfilled=backfilled, heads=heads)
    if dataset.has_impressions:
        display = run.config.ranker.presentation
        joined = attribute(dataset.slates, dataset.feedback)
        if dataset.closed:
            joined = replace(joined, labels=with_maturity(joined.labels, np.ones(len(joined.labels), bool)))
            return ready(joined, periods_of(joined.slates, run), display=display)
        settled = settled_requests(joined, dataset.feedback)
        period = periods_of(joined.slates, run, settled=settled_for_all(joined, settled))
        known, come = settled_labels(joined, settled), {}
        if run.config.training.open_windows == "elapsed":
            come = come_shares(joined, dataset.feedback)
        joined = replace(joined, labels=with_settled(joined, settled))
        return ready(joined, period, known=known, come=come, display=display)
    if "order_value" not in recorded_labels(dataset.feedback):
        print("   no order was recorded: no head, candidates are ranked by what retrieval makes of them")
        return None
    requests = labelled_requests(dataset, encoder.spec, segment=dataset.segment, backfilled=backfilled)
    period = periods_of(requests.slates, run)
    baskets = sample(requests, period)
    joined = labelled(_candidates(run, dataset, requests, baskets, encoder), dataset.feedback)
    mature = np.ones(len(joined.labels), bool)  # a basket is its orders: none is waited for
    joined = replace(joined, labels=with_maturity(joined.labels, mature))
    return ready(joined, period.take(baskets))


def recorded_periods(run: RunFolder) -> Periods:
    """The periods of a run of recorded lists, as `prepare` cuts them."""
    dataset = kept(run.path)
    joined = attribute(dataset.slates, dataset.feedback)
    settled = None if dataset.closed else settled_for_all(joined, settled_requests(joined, dataset.feedback))
    return periods_of(joined.slates, run, settled=settled)


def periods_of(slates: pa.Table, run: RunFolder, *, settled: np.ndarray | None = None) -> Periods:
    """The periods that a run's settings cut its requests into: shares of the `settled` ones (bool [R]), or of all."""
    counted = None if settled is None or settled.mean() < LEAST_SETTLED else settled
    return periods(slates, **asdict(run.config.periods), counted=counted)


def _prepared(
    dataset: Dataset,
    joined: Attribution,
    period: Periods,
    *,
    encoder: Encoder,
    backfilled: Backfill,
    known: Mapping[str, np.ndarray] = NOTHING,
    come: Mapping[str, np.ndarray] = NOTHING,
    display: tuple[str, ...] = (),
    heads: tuple[str, ...] = (),
) -> TrainingRows | None:
    """By label: the rows (bool [N]) where it is `known`, if not everywhere, and the share that has `come` by now.

    `heads`: those of the earlier run; none = all that the data teach.
    """
    names = recorded_labels(dataset.feedback) if dataset.has_impressions else OF_BASKETS
    labels = _taught(joined, period, names, known, heads=heads)
    if not learned_heads(labels):
        return None
    frame = features_of(dataset, joined.slates, encoder.spec, backfilled=backfilled)
    data = _ranking_data(joined, labels, frame, encoder, dataset)
    still_open = {
        name: OpenLabel(joined.labels[name].to_numpy().astype(np.float32), share.astype(np.float32))
        for name, share in come.items()
        if name in labels and np.isnan(labels[name]).any()
    }
    columns = presentation(joined.slates, display) if display else None
    data = replace(data, open=still_open, presentation=columns)
    return TrainingRows(joined.slates, encoder, data, period, dataset.segment, joined.labels, frame)


def _candidates(
    run: RunFolder, dataset: Dataset, requests: LabelledRequests, baskets: np.ndarray, encoder: Encoder
) -> pa.Table:
    """Proposed once; training the retrieval again forgets them."""
    from retrieval.two_tower import TwoTower

    folder = run.path / "retrieval"
    if (folder / CANDIDATES).exists():
        return pq.read_table(folder / CANDIDATES)
    index, _ = load_index(folder / "index")
    users = encoder.encode(requests.frame)
    towers = TwoTower.load_towers(folder)
    embeddings = towers.embed_queries(users.user_codes[baskets], users.user_lists[baskets], users.user_numbers[baskets])
    candidates = basket_candidates(
        dataset,
        requests,
        baskets,
        embeddings,
        segment=dataset.segment,
        index=index,
        config=run.config.sources,
        recipes=recipes_of(run, RunSources(dataset, segment=dataset.segment, index=index).names),
        blends=load_blends(folder / BLENDS),
    )
    pq.write_table(candidates, folder / CANDIDATES)
    return candidates


def _taught(
    joined: Attribution,
    period: Periods,
    names: Iterable[str],
    known: Mapping[str, np.ndarray],
    *,
    heads: tuple[str, ...],
) -> dict[str, np.ndarray]:
    """Labels float32 [N] by name, NaN where not `known`; those rarer than FEWEST in a period left out and said so.

    With `heads` of an earlier run, the labels that teach these.
    """
    request, labels = request_of_rows(joined.slates), {}
    of_heads = {name for head in heads_of(heads) for name in (head.label, head.condition)}
    recorded = {name: joined.labels[name].to_numpy().astype(np.float32) for name in names} | arm_labels(joined.slates)
    for name, label in recorded.items():
        if name in known:
            label[~known[name]] = np.nan
        parts = (period.train, period.validation, period.test)
        counts = tuple(int((label[part[request]] > 0).sum()) for part in parts)
        enough = teaches(counts)
        if name in of_heads or (enough and not heads):
            labels[name] = label
        elif enough:
            print(f"   {name}: the earlier run learned no head of it; a run from scratch would")
        elif not heads:
            print(
                f"   {name}: {counts[0]}, {counts[1]} and {counts[2]} rows in training, validation and test period, "
                f"a head needs {FEWEST[0]}, {FEWEST[1]} and {FEWEST[2]}: none is learned of it"
            )
    return labels


def teaches(counts: Iterable[int]) -> bool:
    """Whether a label with so many events in training, validation and test period is enough for a head."""
    return all(count >= least for count, least in zip(counts, FEWEST, strict=True))


def _ranking_data(
    joined: Attribution, labels: dict[str, np.ndarray], frame: FeatureFrame, encoder: Encoder, dataset: Dataset
) -> RankingData:
    position = flat(joined.slates, "position").to_numpy().astype(np.int32)
    considered = shown(joined.slates) if dataset.has_impressions else np.ones(len(position), bool)
    return RankingData(encoder.encode(frame), labels, position, considered.astype(np.float32))
