"""Is cvr right on rows that were not clicked? Plain ESMM, cvr also on clicked rows, ESCM2-IPS and ESCM2-DR.

The simulated market knows P(order | click) of every row that was shown, clicked or not. The network learns from a share
of the demo market's training requests with each way of teaching cvr, and predicts the test period as it serves
(positions unknown), raw and calibrated. Judged is the mean predicted over the mean true cvr of unclicked rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from benchmarks.record import Measure, record
from jobs.config import RunConfig
from jobs.data import market
from jobs.prepare import TrainingRows, prepare
from jobs.run import STAGES
from jobs.run_folder import RunFolder
from jobs.train_ranker import SURFACE
from marketplace.heads import learned_heads
from retrieval.config import RetrievalConfig
from value_model.rankers.calibration import fit_calibration
from value_model.rankers.config import NetworkConfig, TrainingConfig
from value_model.rankers.group_offsets import groups_of
from value_model.rankers.mmoe import MMoE
from value_model.rankers.training import fit

SEED, REPLICATES = 7, 200
SHARE = 0.4  # of the training requests, the latest
TRAINING = TrainingConfig(epochs=3)
TEACHING = {
    "ESMM (default)": TRAINING,
    "ESMM, clicked rows too": replace(TRAINING, clicked_weight=0.1),
    "ESCM2-IPS": replace(TRAINING, conversion="escm2_ips"),
    "ESCM2-DR": replace(TRAINING, conversion="escm2_dr"),
}


def main() -> None:
    run = RunFolder.create(Path("runs/conversion_bias"), RunConfig(seed=SEED, retrieval=RetrievalConfig(epochs=1)))
    for name in ("data", "retrieval"):
        run.stage(name, partial(STAGES[name], run))
    prepared = prepare(run)
    assert prepared is not None
    test = prepared.period.test
    truth = true_cvr()[prepared.rows(test)]
    unclicked = prepared.data.labels["click"][prepared.rows(test)] == 0
    request = prepared.frame.request[prepared.rows(test)][unclicked]
    measures = []
    for name, training in TEACHING.items():
        for form, cvr in predictions(prepared, training):
            sums = by_request(np.stack([cvr, truth], axis=1)[unclicked], request)
            bar = "0.95-1.05" if form == "calibrated" else None
            measures.append(ratio(f"{name}: predicted / true cvr of unclicked rows, {form}", sums, bar=bar))
        ranks = np.corrcoef(rankdata(cvr[unclicked]), rankdata(truth[unclicked]))[0, 1]
        measures.append(Measure(f"{name}: rank correlation with true cvr of unclicked rows", float(ranks), ""))
        print(measures[-3:], flush=True)
    data = f"simulator, demo size, {SHARE:.0%} of the training requests, test period"
    record("conversion_bias", measures, data=data, seed=SEED)


def predictions(prepared: TrainingRows, training: TrainingConfig) -> Iterator[tuple[str, np.ndarray]]:
    """cvr of the test period's rows, raw and calibrated, of a network that is taught so."""
    period = prepared.period
    latest = np.cumsum(period.train) > (1 - SHARE) * period.train.sum()
    train, held_out = prepared.part(period.train & latest), prepared.part(period.validation)
    inputs = prepared.part(period.test).inputs
    encoder, rng = prepared.encoder, np.random.default_rng(SEED)
    heads = learned_heads(train.labels)
    network = MMoE(encoder.spec, encoder.sizes, config=NetworkConfig(), heads=heads, rng=rng)
    fit(network, train, held_out, config=training, rng=rng, progress=False)
    groups = groups_of(encoder, (prepared.segment, SURFACE))
    calibration = fit_calibration(network.predict(held_out.inputs), held_out, groups=groups)
    raw = network.predict(inputs)
    yield "raw", raw["cvr"]
    yield "calibrated", calibration(raw, inputs)["cvr"]


def true_cvr() -> np.ndarray:
    """float64 [N]: P(order | click) of every impression of the log, in the order of the slates."""
    simulation = market("demo", seed=SEED)
    items, shown = simulation.ranked.item, simulation.ranked.shown
    return simulation.order_probability(simulation.requests, np.where(shown, items, -1))[shown]


def by_request(values: np.ndarray, request: np.ndarray) -> np.ndarray:
    """Sums of rows [n, columns] by request, which stand together."""
    return np.add.reduceat(values, np.flatnonzero(np.diff(request, prepend=-1)), axis=0)


def ratio(name: str, sums: np.ndarray, *, bar: str | None) -> Measure:
    """sum of the first column / sum of the second, with a bootstrap interval over requests."""
    rng = np.random.default_rng(SEED)
    draws = [(rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums))) @ sums) for _ in range(REPLICATES)]
    low, high = np.quantile([drawn[0] / drawn[1] for drawn in draws], [0.025, 0.975])
    whole = sums.sum(axis=0)
    return Measure(name, float(whole[0] / whole[1]), "", bar=bar, interval=(float(low), float(high)))


if __name__ == "__main__":
    main()
