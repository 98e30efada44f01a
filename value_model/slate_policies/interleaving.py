"""Interleaving: several policies (teams) compared within one list, of which each fills some places.

A mixed list is filled by turns: the team whose turn it is places the best of its slate that is not yet in the list and
that the rules of all teams still allow. Who is first in a round of turns is

    team draft   drawn anew in every round (Radlinski, Kurup & Joachims 2008)
    balanced     drawn once a request (Joachims 2003)
    optimised    as team draft, several times; lists get the odds of `evaluation.experiments.multileaving`

M teams make 2 M lists (or more): each team's slate as it is, shown with probability WHOLE / M, and mixed lists, each as
likely as another, whose turns are each other's shifted by one, so that every team has every place in one of M. Which
list is shown is the only chance once turns are drawn, so that propensities are exact:

    P(item here | items above) = P(lists that agree down to here) / P(lists that agree down to the place above)

Whole slates hold what no mixed list reaches: without them an item far down one slate would never be shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluation.experiments.interleaving import TurnRule
from evaluation.experiments.multileaving import optimised_probability
from evaluation.ranking import discounts
from value_model.slate_policies.slate_policy import NO_ATTRIBUTES, ItemAttributes, SlateChoice, SlatePolicy, finite
from value_model.slate_policies.slate_rule import RemainingSlots, SlateRule

WHOLE = 0.25  # of the requests are answered with one team's slate
DRAFTS = 4  # of which optimised odds choose


@dataclass(frozen=True)
class ListMixture:
    """L lists over n candidates: `order` int64 [L, k] of candidates and `team` int64 [L, k] by place, -1 = none there.

    `probability` float64 [L] sums to 1; the first lists are the teams' slates.
    """

    order: np.ndarray
    team: np.ndarray
    probability: np.ndarray

    def draw(self, rng: np.random.Generator) -> int:
        """Which list is shown."""
        return int(rng.choice(len(self.probability), p=self.probability))

    def choice(self, shown: int) -> SlateChoice:
        """The list `shown`, with the propensity of each of its places."""
        order = self.order[shown][self.order[shown] >= 0]
        likely = self.probability @ np.logical_and.accumulate(self.order == self.order[shown], axis=1)[:, : len(order)]
        return SlateChoice(order, likely / np.concatenate([[1.0], likely])[:-1])

    def team_odds(self, shown: int, *, teams: int) -> np.ndarray:
        """float64 [places, teams]: P(team placed it | the list shown), over the lists that look the same."""
        same = (self.order == self.order[shown]).all(axis=1)
        odds = self.probability * same
        team = self.team[:, self.order[shown] >= 0]
        return np.einsum("l,lpm->pm", odds / odds.sum(), team[:, :, None] == np.arange(teams))

    def places(self, n: int) -> np.ndarray:
        """int64 [n, L]: where each of n candidates stands in each list, 1 = first, 0 = it does not."""
        result = np.zeros((n, len(self.order)), np.int64)
        which, place = np.nonzero(self.order >= 0)
        result[self.order[which, place], which] = place + 1
        return result


@dataclass(frozen=True)
class MixedChoice(SlateChoice):
    """The list `shown` of a `mixture`."""

    mixture: ListMixture
    shown: int


def interleaved(
    policies: Sequence[SlatePolicy],
    values: np.ndarray,
    rules: Sequence[SlateRule],
    attributes: ItemAttributes,
    *,
    k: int,
    turns: TurnRule,
    rng: np.random.Generator,
) -> MixedChoice:
    """One list of teams whose `policies` draw nothing at random, by their `values` [M, n]."""
    k = min(k, values.shape[1])
    slates = [
        policy.choose(value, k=k, rng=rng, attributes=attributes).order
        for policy, value in zip(policies, values, strict=True)
    ]
    mixture = mixed_lists(slates, values, draw_turns(turns, rng, teams=len(slates), k=k), rules, attributes)
    if turns is TurnRule.OPTIMISED and k:
        odds = optimised_probability(mixture.places(values.shape[1]), discounts(k), teams=len(slates))
        mixture = replace(mixture, probability=odds)
    shown = mixture.draw(rng)
    choice = mixture.choice(shown)
    return MixedChoice(choice.order, choice.propensity, mixture, shown)


def draw_turns(rule: TurnRule, rng: np.random.Generator, *, teams: int, k: int) -> np.ndarray:
    """int64 [teams or more, k]: whose turn each place is, in each of the mixed lists."""
    if rule is TurnRule.OPTIMISED:
        return np.vstack([draw_turns(TurnRule.TEAM_DRAFT, rng, teams=teams, k=k) for _ in range(DRAFTS)])
    rounds = -(-k // teams)
    if rule is TurnRule.BALANCED:
        first = np.broadcast_to(np.arange(teams), (rounds, teams))
    else:
        first = rng.permuted(np.tile(np.arange(teams), (rounds, 1)), axis=1)
    return np.stack([np.roll(first, -shift, axis=1).ravel()[:k] for shift in range(teams)])


def mixed_lists(
    slates: Sequence[np.ndarray],
    values: np.ndarray,
    turns: np.ndarray,
    rules: Sequence[SlateRule] = (),
    attributes: ItemAttributes = NO_ATTRIBUTES,
    *,
    whole: float = WHOLE,
) -> ListMixture:
    """The lists of teams with these `slates`, each int64 [at most k], by their `values` [M, n] of all candidates.

    `turns` int64 [lists, k] as `draw_turns` gives them; `rules` are those of all teams. A team whose slate is used up
    goes on by its values. A list ends early only where the rules leave nobody for the next place.
    """
    k, preference = turns.shape[1], _preference(slates, values)
    lists = [(slate, np.full(len(slate), team)) for team, slate in enumerate(slates)]
    lists += [_filled(preference, one, rules, attributes) for one in turns]
    order, team = (np.full((len(lists), k), -1) for _ in range(2))
    for at, (items, owners) in enumerate(lists):
        order[at, : len(items)], team[at, : len(items)] = items, owners
    share = np.repeat([whole / len(slates), (1 - whole) / len(turns)], [len(slates), len(turns)])
    return ListMixture(order, team, share)


def _preference(slates: Sequence[np.ndarray], values: np.ndarray) -> np.ndarray:
    """int64 [M, n]: where each team ranks every candidate, 0 = first: its slate, then the others by value."""
    ranked = np.argsort(-finite(values), axis=1, kind="stable")
    place = np.empty_like(ranked)
    np.put_along_axis(place, ranked, np.broadcast_to(np.arange(ranked.shape[1]), ranked.shape), axis=1)
    place += max(map(len, slates))
    for team, slate in enumerate(slates):
        place[team, slate] = np.arange(len(slate))
    return place


def _filled(
    preference: np.ndarray, turns: np.ndarray, rules: Sequence[SlateRule], attributes: ItemAttributes
) -> tuple[np.ndarray, np.ndarray]:
    """One list and the team of each of its places."""
    n = preference.shape[1]
    k = min(len(turns), n)
    slots, order = RemainingSlots(np.zeros(n), rules, attributes, k=k), []
    for team in turns[:k].tolist():
        if slots.exhausted:
            break
        allowed = slots.worth_now() > -np.inf
        order.append(int(np.where(allowed, preference[team], np.iinfo(np.int64).max).argmin()))
        slots.take(order[-1])
    return np.array(order, np.int64), turns[: len(order)]
