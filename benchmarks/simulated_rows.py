"""Training rows straight from a simulated market's tables, for benchmarks that fit many networks: no whole run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.record import Measure
from features.definitions import standard_spec
from features.encoder import Encoder
from features.spec import ModelInputs
from marketplace.attribution import attribute
from marketplace.heads import heads_of
from marketplace.simulator import Response, Simulation
from marketplace.slate_columns import flat
from marketplace.splits import Periods, periods
from retrieval.labelled_requests import features_of
from value_model.rankers.batches import request_offsets, take
from value_model.rankers.config import NetworkConfig, TrainingConfig
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.ranker import OpenLabel, RankingData
from value_model.rankers.training import fit

SHAPE = NetworkConfig(embedding=8, bins=8, expert_units=(32, 16), positions=20)
TRAINING = TrainingConfig(epochs=6, patience=1, batch_requests=64)


@dataclass(frozen=True)
class SimulatedRows:
    """R requests over N rows of a market, in the order of its slates."""

    simulation: Simulation
    period: Periods
    encoder: Encoder
    inputs: ModelInputs
    position: np.ndarray

    @classmethod
    def of(cls, simulation: Simulation) -> SimulatedRows:
        """Features as of each slate's time, without text; vocabularies of the training period."""
        slates = simulation.dataset.slates
        period = periods(slates, test_share=0.2, validation_share=0.15)
        frame = features_of(simulation.dataset, slates, standard_spec(text=False))
        encoder = Encoder.fit(frame, requests=period.train)
        position = flat(slates, "position").to_numpy().astype(np.int32)
        return cls(simulation, period, encoder, encoder.encode(frame), position)

    def part(
        self,
        requests: np.ndarray,
        labels: Mapping[str, np.ndarray],
        *,
        still_open: Mapping[str, OpenLabel] | None = None,
    ) -> RankingData:
        """The rows of some requests (bool [R]) with these labels [N]."""
        weight = np.ones(len(self.position), np.float32)
        data = RankingData(self.inputs, labels, self.position, weight, open=still_open or {})
        offsets = request_offsets(self.inputs.request, len(self.inputs.user_codes))
        return take(data, np.flatnonzero(requests), offsets=offsets)

    def rows(self, requests: np.ndarray) -> np.ndarray:
        """bool [N]: the rows of some requests."""
        return requests[self.inputs.request]

    def truth(self) -> Response:
        """The true probabilities of every row, float64 [N] each."""
        ranked = self.simulation.ranked
        response = self.simulation.respond(self.simulation.requests, np.where(ranked.shown, ranked.item, -1))
        return Response(**{name: values[ranked.shown] for name, values in vars(response).items()})

    def fitted(
        self, train: RankingData, later: RankingData, *, shape: NetworkConfig, training: TrainingConfig, seed: int
    ) -> NetworkRanker:
        """A network of the heads that the labels teach, without amounts."""
        rng = np.random.default_rng(seed)
        heads = heads_of(["ctr", "cvr"] if "order" in train.labels else ["ctr"])
        ranker = NetworkRanker(self.encoder.spec, self.encoder.sizes, config=shape, heads=heads, rng=rng)
        fit(ranker, train, later, config=training, rng=rng, progress=False)
        return ranker


def labels_of(simulation: Simulation, *names: str) -> dict[str, np.ndarray]:
    """float32 [N] each: what came of every row in the end."""
    labels = attribute(simulation.dataset.slates, simulation.dataset.feedback).labels
    return {name: labels[name].to_numpy().astype(np.float32) for name in names}


def over_seeds(name: str, values: np.ndarray, bar: str | None = None, unit: str = "") -> Measure:
    """The mean over seeds with Student's interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Measure(name, float(values.mean()), unit, bar, (float(values.mean() - half), float(values.mean() + half)))
