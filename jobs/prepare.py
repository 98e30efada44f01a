"""From a data set to what a ranker learns from: features as of each slate, labels from feedback, splits by time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from features.backfill import backfill
from features.encoder import Encoder
from features.spec import FeatureFrame
from jobs.config import RunConfig
from jobs.defaults import spec_of
from jobs.periods import Periods, periods
from marketplace.attribution import Attribution, attribute
from marketplace.dataset import Dataset
from marketplace.slates import flat, shown
from value_model.batches import take
from value_model.ranker import Labels, RankingData

MIN_COUNT = 3  # a name seen less often shares the embedding of the unknown


@dataclass(frozen=True)
class Prepared:
    """R requests over N rows, and the period that each request belongs to."""

    slates: pa.Table
    labels: pa.Table
    frame: FeatureFrame
    encoder: Encoder
    data: RankingData
    period: Periods

    @property
    def offsets(self) -> np.ndarray:
        """int64 [R + 1]: request r owns rows offsets[r]:offsets[r + 1]."""
        return self.frame.offsets

    def part(self, requests: np.ndarray) -> RankingData:
        """The rows of some requests (bool [R])."""
        return take(self.data, np.flatnonzero(requests), offsets=self.offsets)

    def rows(self, requests: np.ndarray) -> np.ndarray:
        """bool [N]: the rows of some requests."""
        return requests[self.frame.request]

    def offsets_of(self, requests: np.ndarray) -> np.ndarray:
        """int64 [r + 1]: offsets of some requests' rows once they are taken out."""
        return np.append(0, np.cumsum(np.diff(self.offsets)[requests]))


def prepare(dataset: Dataset, config: RunConfig, *, slates: pa.Table | None = None) -> Prepared:
    """Features, labels and splits of `slates` (None = the data set's own), sorted by time.

    A recorded data set is closed: what its feedback does not hold did not happen, so every row counts as settled.
    """
    joined = attribute(dataset.slates if slates is None else slates, dataset.feedback)
    asked = joined.slates
    frame = backfill(dataset, asked, spec=spec_of(dataset))
    return prepared(joined, frame, config, click=dataset.has_impressions)


def prepared(joined: Attribution, frame: FeatureFrame, config: RunConfig, *, click: bool) -> Prepared:
    """Splits by time, the encoder of the training rows, and the packed data of joined slates and their features."""
    asked = joined.slates
    period = periods(asked, config)
    encoder = Encoder.fit(frame, requests=period.train, min_count=MIN_COUNT)
    data = _ranking_data(joined, frame, encoder, click=click)
    return Prepared(asked, joined.labels, frame, encoder, data, period)


def _ranking_data(joined: Attribution, frame: FeatureFrame, encoder: Encoder, *, click: bool) -> RankingData:
    label = {name: joined.labels[name].to_numpy().astype(np.float32) for name in ("click", "order", "order_value")}
    labels = Labels(order=label["order"], order_value=label["order_value"], click=label["click"] if click else None)
    position = flat(joined.slates, "position").to_numpy().astype(np.int32)
    considered = shown(joined.slates) if click else np.ones(len(position), bool)
    return RankingData(encoder.encode(frame), labels, position, considered.astype(np.float32))


def requests_table(prepared: Prepared, requests: np.ndarray) -> pa.Table:
    """The slates of some requests (bool [R])."""
    return prepared.slates.filter(pa.array(requests))
