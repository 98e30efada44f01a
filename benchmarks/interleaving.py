"""Interleaving against the A/B test: the same effect, from how many fewer shoppers, and does it cry wolf?

Two value policies over the same imperfect heads; the simulator knows what each slate truly brings. Shoppers make whole
visits over two weeks. The A/B test draws shoppers; interleaving draws a list a request. Both are read per request, by
shopper, with the same cluster-robust error. Users for 80 % power: (1.96 + .84)^2 variance / effect^2, by the true
effect; that this many do find it is checked by drawing them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from benchmarks.record import Measure, record
from benchmarks.tuning_market import CONFIG, TuningMarket
from evaluation.bias.examination import examination_curves
from evaluation.experiments.effects import Ratio, within
from evaluation.experiments.interleaving import TurnRule, debiased_worth, uncovered
from evaluation.experiments.multileaving import optimised_probability
from evaluation.experiments.sequences import half_width
from evaluation.experiments.sums import UnitSums, unit_sums
from marketplace.simulator import RequestBatch
from marketplace.simulator.behaviour import Response
from marketplace.simulator.events import draw_events
from marketplace.simulator.requests import draw_requests
from marketplace.simulator.shown import slate_length
from value_model.formula import evaluate
from value_model.slate_policies.interleaving import WHOLE, draw_turns, mixed_lists

SEED, REQUESTS, TRUE_REQUESTS, DAYS = 11, 16_000, 40_000, 14
MARKET = replace(CONFIG, users=8_000, candidates=100)
CHANGES = {"orders weigh 3 x": {"w_order": 3.0}, "sales weigh 20 x": {"w_gmv": 0.04}}
OUTCOMES = ("click", "order", "gmv")
RUNS, LOOKS, SHOPPERS = 2_000, 14, 1_000
NEEDED = (1.959964 + 0.841621) ** 2
PER_REQUEST = Ratio("gain", "requests")


@dataclass(frozen=True)
class Questions:
    """R requests with C candidates, what they bring, and the values [2, R, C] of the policy in force and of the other.

    `k` [R]: places; `curve` [R, K]: examination; -inf where there is no candidate.
    """

    requests: RequestBatch
    response: Response
    ctr: np.ndarray
    values: np.ndarray
    k: np.ndarray
    curve: np.ndarray

    def slates(self) -> np.ndarray:
        """int64 [2, R, K]: the candidates of both slates, -1 beyond."""
        ranked = np.argsort(-self.values, axis=2, kind="stable")[..., : self.curve.shape[1]]
        return np.where(np.arange(self.curve.shape[1]) < self.k[:, None], ranked, -1)

    def brought(self, order: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """What came of lists int [R, K] of candidates, by place."""
        at, shown = np.maximum(order, 0), order >= 0
        response = Response(*(np.take_along_axis(part, at, axis=1) for part in vars(self.response).values()))
        spread = MARKET.value_spread
        events = draw_events(self.requests, response, shown, rng, cart_rate=MARKET.cart_rate, value_spread=spread)
        return {"click": events.click.astype(float), "order": events.order.astype(float), "gmv": events.value}

    def expected(self, order: np.ndarray) -> dict[str, np.ndarray]:
        """float64 [R]: what lists int [R, K] bring, in expectation."""
        at, looked = np.maximum(order, 0), np.where(order >= 0, self.curve, 0.0)
        response = self.response
        each = {"click": response.attraction, "order": response.attraction * response.order, "gmv": response.gmv}
        return {name: (np.take_along_axis(part, at, axis=1) * looked).sum(axis=1) for name, part in each.items()}


def main() -> None:
    market = TuningMarket.draw(SEED, config=MARKET)
    measures = [measure for change in CHANGES for measure in compared(market, change)]
    record("interleaving", measures, data=f"simulator, {REQUESTS:,} requests of two weeks", seed=SEED)


def compared(market: TuningMarket, change: str) -> Iterator[Measure]:
    rng = np.random.default_rng(SEED)
    true = truth(market, change, rng)
    questions = drawn(market, change, rng, count=REQUESTS)
    slates = questions.slates()
    shared = [np.isin(a[a >= 0], b) for a, b in zip(*slates, strict=True)]
    yield Measure(f"{change}: items that both slates show", float(np.concatenate(shared).mean()), "share")
    order, place = lists(questions, slates, TurnRule.TEAM_DRAFT, rng)
    tests = {name: ab_variance(questions, slates, name, rng) for name in OUTCOMES}
    for whole in (WHOLE, 0.0, 1.0):
        odds = np.array([whole / 2, whole / 2, (1 - whole) / 2, (1 - whole) / 2])
        which = rng.choice(4, size=len(order), p=odds)
        shown = order[np.arange(len(order)), which]
        brought = questions.brought(shown, rng)
        gains = {name: gain(questions, place, shown, brought[name], odds, questions.curve) for name in OUTCOMES}
        if whole == WHOLE:
            yield from answers(change, questions, gains, true, tests, rng)
            yield from fitted(change, questions, place, shown, brought, odds, true)
            yield from calm(change, questions, gains["order"], rng)
            yield from optimised(change, questions, place, odds)
            continue
        name = f"{change}: order, {whole:.0%} of requests with a whole slate"
        needed = NEEDED * variance(questions, gains["order"]) / true["order"][0] ** 2
        curve, hidden = np.repeat(questions.curve, place.shape[1], axis=0), place.reshape(-1, 4)
        yield Measure(f"{name}: users needed", needed, "users")
        yield Measure(f"{name}: examined apart and not covered", uncovered(hidden, odds, curve, teams=2), "share")


def answers(change, questions, gains, true, tests, rng) -> Iterator[Measure]:  # type: ignore[no-untyped-def]
    """The estimate against the truth, and users needed by both designs."""
    for name, gained in gains.items():
        effect, error = true[name]
        found = within(sums(questions, gained).means, PER_REQUEST)
        away = abs(float(found.value) - effect) / np.hypot(float(found.error), error)
        interval = (float(found.value - 1.96 * found.error), float(found.value + 1.96 * found.error))
        unit = "SAR / request" if name == "gmv" else f"{name} / request"
        yield Measure(f"{change}: {name}, true effect", effect, unit, interval=(effect - 2 * error, effect + 2 * error))
        yield Measure(f"{change}: {name}, debiased estimate", float(found.value), unit, interval=interval)
        yield Measure(f"{change}: {name}, estimate from truth", away, "standard errors", "<= 2")
        ours, theirs = NEEDED * variance(questions, gained) / effect**2, NEEDED * tests[name] / effect**2
        yield Measure(f"{change}: {name}, users needed", ours, "users")
        yield Measure(f"{change}: {name}, users needed by the A/B test", theirs, "users")
        yield Measure(f"{change}: {name}, fewer users", theirs / ours, "x", ">= 20")
        if name == "order":
            drawn_users = max(int(np.ceil(ours)), 50)
            value, half = runs(questions, gained - true_shift(questions, gained, effect), drawn_users, rng)
            rate = float((np.abs(value[:, -1]) > half["fixed"][:, -1]).mean())
            yield Measure(f"{change}: {name}, power of {drawn_users} users", rate, "share")


def true_shift(questions: Questions, gained: np.ndarray, effect: float) -> np.ndarray:
    """[R]: what moves the sample's mean onto the true effect, so that power is that at the truth."""
    return np.full(len(gained), gained.mean() - effect)


def fitted(change, questions, place, shown, brought, odds, true) -> Iterator[Measure]:  # type: ignore[no-untyped-def]
    """The estimate where examination is read off the same log, by clicks over the heads' expectation."""
    position = np.where(shown >= 0, np.arange(shown.shape[1]) + 1, 0)
    ctr, surface = np.take_along_axis(questions.ctr, np.maximum(shown, 0), axis=1), questions.requests.surface
    curves = examination_curves(position, brought["click"], ctr, surface)
    longest = questions.curve.shape[1]
    table = np.ones((4, longest))
    for number, curve in curves.items():
        table[int(number), : len(curve)] = curve
        table[int(number), len(curve) :] = curve[-1]
    for name in OUTCOMES:
        gained = gain(questions, place, shown, brought[name], odds, table[surface])
        found = within(sums(questions, gained).means, PER_REQUEST)
        away = abs(float(found.value) - true[name][0]) / np.hypot(float(found.error), true[name][1])
        yield Measure(f"{change}: {name}, examination from the same log: from truth", away, "standard errors", "<= 2")


def calm(change: str, questions: Questions, gained: np.ndarray, rng: np.random.Generator) -> Iterator[Measure]:
    """A/A: who is which team is drawn for each shopper, so that nothing is gained, while the slates differ."""
    value, half = runs(questions, gained, SHOPPERS, rng, symmetric=True)
    away = np.abs(value)
    once, ever = away[:, -1] > half["fixed"][:, -1], (away > half["any time"]).any(axis=1)
    peeking = (away > half["fixed"]).any(axis=1)
    for name, alarms, bar in (
        ("false positives, one look", once, "0.04-0.06"),
        (f"false positives at any of {LOOKS} daily looks", ever, "<= 0.05"),
        ("the same by the one look's interval", peeking, None),
    ):
        yield Measure(f"{change}: A/A, {name}", float(alarms.mean()), "share", bar)


def optimised(change: str, questions: Questions, place: np.ndarray, odds: np.ndarray) -> Iterator[Measure]:
    """Expected noise of the credit for orders with optimised odds, over that with equal ones; 1,000 requests."""
    noise = np.zeros((2, 1_000))
    order = questions.response.attraction * questions.response.order
    for row in range(noise.shape[1]):
        looked = np.where(place[row] > 0, questions.curve[row][np.maximum(place[row], 1) - 1], 0.0)
        best = optimised_probability(place[row].astype(int), questions.curve[row], teams=2)
        for at, chosen in enumerate((odds, best)):
            overall = looked @ chosen
            credit = (looked[:, 1] - looked[:, 0]) / np.where(overall > 0, overall, np.inf)
            brought = (looked * (credit * order[row])[:, None]).sum(axis=0)
            noise[at, row] = (order[row] * overall * credit**2).sum() + chosen @ np.square(brought - chosen @ brought)
    yield Measure(
        f"{change}: order, noise of optimised odds", float(noise[1].mean() / noise[0].mean()), "of equal odds"
    )


def truth(market: TuningMarket, change: str, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """The effect on each outcome per request, from other requests, and its standard error."""
    questions = drawn(market, change, rng, count=TRUE_REQUESTS)
    ours, theirs = (questions.expected(slate) for slate in questions.slates())
    answer = {}
    for name in OUTCOMES:
        gap = within(sums(questions, theirs[name] - ours[name]).means, PER_REQUEST)
        answer[name] = (float(gap.value), float(gap.error))
    return answer


def drawn(market: TuningMarket, change: str, rng: np.random.Generator, *, count: int) -> Questions:
    simulation = market.simulation
    requests = draw_requests(simulation.market, rng, count=count, window=(0, DAYS))
    items = simulation.draw_candidates(requests, rng)
    several = (items >= 0).sum(axis=1) > 1
    requests, items = requests.take(several), items[several]
    response = simulation.respond(requests, items)
    columns = market.columns(requests, items, response)
    weights = {name: weight.value for name, weight in market.policy.weight.items()}
    values = [evaluate(market.policy, columns, weights=weights | changed) for changed in ({}, CHANGES[change])]
    k = np.minimum(slate_length(simulation.config, requests), (items >= 0).sum(axis=1))
    curve = simulation.examination(positions=int(k.max()))[requests.surface]
    return Questions(requests, response, columns["ctr"], np.where(items >= 0, np.stack(values), -np.inf), k, curve)


def lists(
    questions: Questions, slates: np.ndarray, rule: TurnRule, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """int64 [R, 4, K] candidates of the lists of each request, and int8 [R, C, 4] their places."""
    order = np.full((len(questions.k), 4, slates.shape[2]), -1)
    place = np.zeros((*questions.ctr.shape, 4), np.int8)
    for row, k in enumerate(tqdm(questions.k.tolist(), desc="requests", unit="request")):
        turns = draw_turns(rule, rng, teams=2, k=k)
        mixture = mixed_lists(list(slates[:, row, :k]), questions.values[:, row], turns)
        order[row, :, :k], place[row] = mixture.order, mixture.places(place.shape[1])
    return order, place


def gain(questions, place, shown, outcome, odds, curve) -> np.ndarray:  # type: ignore[no-untyped-def]
    """float64 [R]: the debiased difference of each request, from what was shown and came of it."""
    row, at = np.nonzero(shown >= 0)
    places = place[row, shown[row, at]].astype(int)
    worth = debiased_worth(outcome[row, at], places, odds, curve[row], teams=2)
    return np.bincount(row, worth[:, 1] - worth[:, 0], minlength=len(shown))


def sums(questions: Questions, gained: np.ndarray) -> UnitSums:
    _, unit = np.unique(questions.requests.user, return_inverse=True)
    columns = {"gain": np.bincount(unit, gained), "requests": np.bincount(unit).astype(float)}
    return unit_sums(columns, np.zeros(len(columns["gain"]), int), groups=1)[0]


def variance(questions: Questions, gained: np.ndarray) -> float:
    """Of one user: n times the squared error of the difference per request."""
    found = within(sums(questions, gained).means, PER_REQUEST)
    return float(found.error**2 * found.n)


def ab_variance(questions: Questions, slates: np.ndarray, name: str, rng: np.random.Generator) -> float:
    """Of one user of an A/B test with half of the users in each arm."""
    return sum(2 * variance(questions, questions.brought(slate, rng)[name].sum(axis=1)) for slate in slates)


def runs(
    questions: Questions, gained: np.ndarray, shoppers: int, rng: np.random.Generator, *, symmetric: bool = False
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Differences [RUNS, LOOKS] of drawn shoppers as they come, and the half widths of both intervals."""
    _, unit = np.unique(questions.requests.user, return_inverse=True)
    rows = np.column_stack([np.ones(unit.max() + 1), np.bincount(unit, gained), np.bincount(unit)])
    ends = np.linspace(0, shoppers, LOOKS + 1).astype(int)
    total, products = np.empty((RUNS, LOOKS, 3)), np.empty((RUNS, LOOKS, 3, 3))
    for run in range(RUNS):
        drawn_rows = rows[rng.integers(0, len(rows), shoppers)]
        if symmetric:
            drawn_rows[:, 1] *= rng.choice([-1.0, 1.0], shoppers)
        total[run] = np.cumsum(drawn_rows, axis=0)[ends[1:] - 1]
        products[run] = np.cumsum(drawn_rows[:, :, None] * drawn_rows[:, None, :], axis=0)[ends[1:] - 1]
    counts = np.broadcast_to(ends[1:], (RUNS, LOOKS))
    found = within(UnitSums(("units", "gain", "requests"), counts, total, products).means, PER_REQUEST)
    half = {"fixed": 1.959964 * found.error, "any time": half_width(found.error, found.n, best_at=float(shoppers))}
    return found.value, half


if __name__ == "__main__":
    main()
