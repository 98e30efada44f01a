"""Do position models find the true examination: on sampled position-based clicks, and on the simulated market's log.

Sampled clicks: lists sorted by a noisy view of attraction, so that click rates by position mislead. Market: the log's
own slates and feedback, home feed, first positions; lists drawn by the incumbent (Plackett-Luce on popularity and
taste), and lists shuffled uniformly. Each figure is the largest relative error over the positions.
"""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from benchmarks.record import Measure, record
from evaluation.bias.click_models import cells, fit_pbm, harvest, randomised
from evaluation.bias.regression_em import fit_regression_em
from marketplace.simulator import Simulation, SimulatorConfig, simulate
from marketplace.slate_columns import flat, item_offsets, request_of_rows

SEED, DEPTH = 11, 8
TRUTH = np.arange(1, DEPTH + 1) ** -0.8
BAR = "<= 0.05"


def sampled(rng: np.random.Generator, *, requests: int, queries: int, items: int = 12, noise: float = 1.0):
    """(position, click, pair, features, offsets) of lists of DEPTH."""
    features = rng.normal(size=(queries, items, 4))
    attraction = 1 / (1 + np.exp(1.5 - features @ rng.normal(size=4)))
    query = rng.integers(queries, size=requests)
    score = np.log(attraction[query]) + noise * rng.normal(size=(requests, items))
    shown = np.argsort(-score, axis=1)[:, :DEPTH]
    click = rng.random(shown.shape) < TRUTH * attraction[query[:, None], shown]
    position, offsets = np.tile(np.arange(1, DEPTH + 1), requests), np.arange(0, requests * DEPTH + 1, DEPTH)
    pair = (query[:, None] * items + shown).ravel()
    return position, click.ravel().astype(float), pair, features[query[:, None], shown].reshape(-1, 4), offsets


def naive(position: np.ndarray, click: np.ndarray, *, depth: int) -> np.ndarray:
    kept = (position >= 1) & (position <= depth)
    rate = np.bincount(position[kept] - 1, click[kept]) / np.bincount(position[kept] - 1)
    return rate / rate[0]


def worst(examination: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(examination / truth - 1).max())


def on_samples(rng: np.random.Generator) -> list[Measure]:
    position, click, pair, _, _ = sampled(rng, requests=200_000, queries=60)
    data = cells(position, click, pair, depth=DEPTH)
    curves = {
        "click rate by position": (naive(position, click, depth=DEPTH), None),
        "PBM by EM": (fit_pbm(data, depth=DEPTH).examination, BAR),
        "intervention harvesting": (harvest(data, depth=DEPTH), BAR),
    }
    position, click, _, features, _ = sampled(rng, requests=60_000, queries=60_000)
    curves["regression-EM"] = (fit_regression_em(position, click, features, depth=DEPTH).examination, BAR)
    position, click, _, _, offsets = sampled(rng, requests=200_000, queries=60, noise=1e6)
    estimates = randomised(position, click, offsets, depth=DEPTH, rng=rng, replicates=20)
    curves["randomised lists"] = (np.array([e.value for e in estimates]), BAR)
    return [Measure(f"sampled clicks: {name}", worst(e, TRUTH), "error", bar) for name, (e, bar) in curves.items()]


def home_feed(market: Simulation) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(position, click, pair = recorded segment and item, offsets) of the home feed's slates."""
    slates = market.dataset.slates
    slates = slates.filter(pc.equal(slates["surface"].cast("string"), "home"))
    feedback = market.dataset.feedback
    clicks = feedback.filter(pc.equal(feedback["event"].cast("string"), "click"))
    request = request_of_rows(slates)
    item = flat(slates, "item_id").cast("string")
    names = pc.binary_join_element_wise(pc.take(slates["request_id"].combine_chunks(), request), item, " ")
    clicked = pc.binary_join_element_wise(clicks["request_id"], clicks["item_id"].cast("string"), " ")
    click = pc.is_in(names, value_set=clicked.combine_chunks()).to_numpy(zero_copy_only=False).astype(float)
    segment = market.dataset.of_users(slates["user_id"], "segment").cast("string")
    pair = pc.binary_join_element_wise(pc.take(segment, request), item, " ").dictionary_encode().indices
    return flat(slates, "position").to_numpy(), click, pair.to_numpy(), item_offsets(slates)


def on_the_market(rng: np.random.Generator) -> list[Measure]:
    measures = []
    for name, temperature in (("incumbent's lists", 1.0), ("shuffled lists", 1e6)):
        market = simulate(
            SimulatorConfig(requests=120_000, items=1500, logging_temperature=temperature, click_offset=1.0), rng
        )
        truth = market.examination(positions=DEPTH)[0]
        position, click, pair, offsets = home_feed(market)
        data = cells(position, click, pair, depth=DEPTH)
        curves = {"click rate by position": naive(position, click, depth=DEPTH)}
        if temperature == 1.0:
            curves |= {"PBM by EM": fit_pbm(data, depth=DEPTH).examination, "harvesting": harvest(data, depth=DEPTH)}
        else:
            estimates = randomised(position, click, offsets, depth=DEPTH, rng=rng, replicates=100)
            curves["randomised"] = np.array([e.value for e in estimates])
            covered = np.mean([e.low <= t <= e.high for e, t in zip(estimates[1:], truth[1:], strict=True)])
            measures.append(Measure(f"market, {name}: intervals that cover", float(covered), "share", None))
        bars = {"click rate by position": None}
        measures += [
            Measure(f"market, {name}: {method}", worst(e, truth), "error", bars.get(method, BAR))
            for method, e in curves.items()
        ]
    return measures


def main() -> None:
    rng = np.random.default_rng(SEED)
    data = f"sampled clicks (up to 200,000 lists of {DEPTH}) and the simulated market's home feed"
    record("position_bias", on_samples(rng) + on_the_market(rng), data=data, seed=SEED)


if __name__ == "__main__":
    main()
