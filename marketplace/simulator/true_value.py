"""The true value of any policy: the mean of exact expectations over fresh requests, with intervals over requests.

Each metric is a ratio of two sums over requests, sum N / sum D (D = 1 for a mean per request); its interval is the
normal one of the delta method, from the residuals (N - ratio D) / mean(D). Two policies are compared on the same
requests and candidates, so that their difference has the interval of paired residuals.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from marketplace.estimate import Estimate
from marketplace.simulator.behaviour import CHUNK, respond
from marketplace.simulator.market import on_sale
from marketplace.simulator.outcomes import SampledOutcomes, expected_outcomes
from marketplace.simulator.policies import Policy
from marketplace.simulator.requests import RequestBatch
from marketplace.simulator.shown import best_first, slate_length
from marketplace.simulator.simulation import Simulation

Ranking = Policy | np.ndarray  # scores of candidates, or the answer itself: ranked items int [R, k], -1 = none
Worth = Callable[[SampledOutcomes], np.ndarray]
Sums = dict[str, tuple[np.ndarray, np.ndarray]]


def true_value(
    simulation: Simulation,
    policy: Ranking,
    *,
    rng: np.random.Generator,
    requests: int | RequestBatch = 4_000,
    candidates: np.ndarray | None = None,
    value: Worth | None = None,
) -> dict[str, Estimate]:
    """Every metric of `policy`: ctr, cvr, clicks, orders, gmv_sar, ... (see `per_request`).

    `requests`: fresh ones to draw, or a batch. A scoring policy ranks `candidates` (int32 [R, C]; None = drawn as
    the log's retrieval draws them). A ranked answer needs the batch that it answers. `value` adds the metric `value`:
    the mean per request of the sum over the list of what it returns, [R, k].
    """
    batch, options = _questions(simulation, rng, requests=requests, candidates=candidates, policies=(policy,))
    return _estimates(per_request(_shown(simulation, policy, batch, options), value=value))


def true_difference(
    simulation: Simulation,
    policy: Ranking,
    baseline: Ranking,
    *,
    rng: np.random.Generator,
    requests: int | RequestBatch = 4_000,
    candidates: np.ndarray | None = None,
    value: Worth | None = None,
) -> dict[str, Estimate]:
    """Every metric of `policy` minus that of `baseline`, on the same requests; arguments as in `true_value`."""
    batch, options = _questions(simulation, rng, requests=requests, candidates=candidates, policies=(policy, baseline))
    ours, theirs = (per_request(_shown(simulation, who, batch, options), value=value) for who in (policy, baseline))
    return {name: _difference(ours[name], theirs[name]) for name in ours}


def per_request(outcomes: SampledOutcomes, *, value: Worth | None = None) -> Sums:
    """Numerator and denominator of each metric, float64 [R] each.

    ctr per shown item; cvr per click; return_rate per order (refusals included); newcomer_exposure and
    merchant_quality per examined item; all others are sums per request, amounts in SAR.
    """
    ones = np.ones(len(outcomes.item))
    total = {name: getattr(outcomes, name).sum(axis=1) for name in ("click", "order", "gmv", "lost", "examination")}
    shown = (outcomes.item >= 0).sum(axis=1).astype(np.float64)
    seen = outcomes.examination
    sums = {
        "ctr": (total["click"], shown),
        "cvr": (total["order"], total["click"]),
        "clicks": (total["click"], ones),
        "orders": (total["order"], ones),
        "gmv_sar": (total["gmv"], ones),
        "net_gmv_sar": (outcomes.net_gmv.sum(axis=1), ones),
        "commission_sar": (outcomes.commission.sum(axis=1), ones),
        "margin_sar": (outcomes.margin.sum(axis=1), ones),
        "order_value_sar": (total["gmv"], total["order"]),
        "return_rate": (total["lost"], total["order"]),
        "newcomer_exposure": ((seen * outcomes.newcomer).sum(axis=1), total["examination"]),
        "merchant_quality": ((seen * outcomes.merchant_quality).sum(axis=1), total["examination"]),
    }
    if value is not None:
        sums["value"] = (value(outcomes).sum(axis=1), ones)
    return sums


def best_of_catalogue(simulation: Simulation, requests: RequestBatch) -> np.ndarray:
    """The list with the highest true GMV that the whole catalogue allows, int32 [R, k]: the bound on any engine.

    On a store page only that merchant's items count, on a product page never the page's own item.
    """
    market, length = simulation.market, slate_length(simulation.config, requests)
    everything = np.arange(simulation.config.items, dtype=np.int32)
    step = max(1, CHUNK // len(everything))
    lists = np.full((len(requests), int(length.max(initial=0))), -1, np.int32)
    for low in range(0, len(requests), step):
        part = requests.take(slice(low, low + step))
        options = np.where(on_sale(market, everything[None, :], part.day[:, None]), everything, -1)
        store = part.page_merchant[:, None]
        options[(store >= 0) & (market.items.merchant[everything] != store)] = -1
        options[everything == part.page_item[:, None]] = -1
        scores = respond(market, part, options).gmv
        ranked = best_first(scores, options, length=length[low : low + step])
        lists[low : low + step, : ranked.shape[1]] = ranked
    return lists


def _questions(
    simulation: Simulation,
    rng: np.random.Generator,
    *,
    requests: int | RequestBatch,
    candidates: np.ndarray | None,
    policies: tuple[Ranking, ...],
) -> tuple[RequestBatch, np.ndarray | None]:
    """The batch, and candidates for those policies that score."""
    answered = any(isinstance(policy, np.ndarray) for policy in policies)
    if isinstance(requests, int):
        if answered or candidates is not None:
            raise ValueError("ranked answers and candidates belong to given requests: pass their RequestBatch.")
        requests = simulation.draw_requests(rng, count=requests)
    if candidates is None and not all(isinstance(policy, np.ndarray) for policy in policies):
        candidates = simulation.draw_candidates(requests, rng)
    return requests, candidates


def _shown(
    simulation: Simulation, policy: Ranking, requests: RequestBatch, candidates: np.ndarray | None
) -> SampledOutcomes:
    if isinstance(policy, np.ndarray):
        return expected_outcomes(simulation.market, requests, policy)
    assert candidates is not None
    length = slate_length(simulation.config, requests)
    ranked = best_first(policy(requests, candidates), candidates, length=length)
    return expected_outcomes(simulation.market, requests, ranked)


def _estimates(sums: Sums) -> dict[str, Estimate]:
    return {name: _interval(*_ratio(*parts)) for name, parts in sums.items()}


def _difference(ours: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray]) -> Estimate:
    (value, residual), (other, other_residual) = _ratio(*ours), _ratio(*theirs)
    return _interval(value - other, residual - other_residual)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> tuple[float, np.ndarray]:
    """The ratio of the sums (NaN if there is nothing to divide by) and the residual of each request."""
    mean = denominator.mean()
    if mean == 0:
        return float("nan"), np.full(len(numerator), np.nan)
    ratio = numerator.mean() / mean
    return float(ratio), (numerator - ratio * denominator) / mean


def _interval(value: float, residual: np.ndarray, *, level: float = 0.95) -> Estimate:
    half = NormalDist().inv_cdf(0.5 + level / 2) * residual.std(ddof=1) / np.sqrt(len(residual))
    return Estimate(value, float(value - half), float(value + half), n=len(residual), level=level)
