"""Interleaving: lists by hand, propensities and credits by enumeration, rules in the mixed list."""

from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from experiment_log import FILE, experiment_log

from evaluation.experiments.decisions import DecisionKind, ExperimentState
from evaluation.experiments.effects import Missing, Ratio, within
from evaluation.experiments.experiment_file import parse_experiment
from evaluation.experiments.experiment_folder import PlacedExperiment
from evaluation.experiments.exposure import variant_column
from evaluation.experiments.guardrail_reading import GuardrailState
from evaluation.experiments.interleaving import TurnRule, debiased_worth, examined, team_credit, uncovered
from evaluation.experiments.multileaving import optimised_probability
from evaluation.experiments.ramp import ramp_move
from evaluation.experiments.reading import read_experiment
from evaluation.experiments.sums import unit_sums
from jobs.experiment_log import kept as log_columns
from jobs.experiment_sections import reading_sections
from marketplace.attribution import attribute
from marketplace.finding import DataError
from marketplace.schema import LIST_ODDS, LIST_PLACE, RIVAL_ODDS
from marketplace.slate import slates_to_table, table_to_slates
from value_model.slate_policies.interleaving import draw_turns, mixed_lists
from value_model.slate_policies.rules import MerchantCap, Newcomers
from value_model.slate_policies.sequential import SequentialSlate
from value_model.slate_policies.slate_policy import Greedy, ItemAttributes

CURVE = 1 / np.arange(1, 9)
OURS, THEIRS = np.array([0, 1, 2, 3]), np.array([3, 4, 1, 5])
VALUES = np.array([[6.0, 5, 4, 3, 2, 1], [2, 4, 1, 6, 5, 3]])


def drafts(slates, k):
    """Team draft by its definition: P(list) over all tosses, one a round."""
    odds = Counter()
    rounds = -(-k // 2)
    for tosses in product((0, 1), repeat=rounds):
        shown = []
        for first in tosses:
            for team in (first, 1 - first):
                if len(shown) < k:
                    shown.append(next(item for item in slates[team] if item not in shown))
        odds[tuple(shown)] += 0.5**rounds
    return odds


def test_balanced_lists_by_hand():
    turns = draw_turns(TurnRule.BALANCED, np.random.default_rng(0), teams=2, k=4)
    mixture = mixed_lists([OURS, THEIRS], VALUES, turns, whole=0.2)
    assert mixture.order.tolist() == [[0, 1, 2, 3], [3, 4, 1, 5], [0, 3, 1, 4], [3, 0, 4, 1]]
    assert mixture.team[2:].tolist() == [[0, 1, 0, 1], [1, 0, 1, 0]]
    assert mixture.probability == pytest.approx([0.1, 0.1, 0.4, 0.4])
    # Of lists 0 and 2, which begin alike, list 2 has .4 of .5; after that nothing else looks like it.
    assert mixture.choice(2).propensity == pytest.approx([0.5, 0.8, 1, 1])


def test_team_draft_shows_lists_as_often_as_its_tosses_say():
    full = [[0, 1, 2, 3, 4, 5], [3, 4, 1, 5, 0, 2]]
    expected, seen = drafts(full, 4), Counter()
    for tosses in product((0, 1), repeat=2):  # every draw of turns, each with its mirror
        turns = np.array([[team for first in tosses for team in (first, 1 - first)]])
        mixture = mixed_lists([OURS, THEIRS], VALUES, np.vstack([turns, 1 - turns]), whole=0.0)
        for items, odds in zip(mixture.order.tolist(), mixture.probability, strict=True):
            seen[tuple(items)] += odds / 4
    assert {items: odds for items, odds in seen.items() if odds} == pytest.approx(expected)
    tossed = draw_turns(TurnRule.TEAM_DRAFT, np.random.default_rng(0), teams=2, k=4_001)
    assert (tossed[0] + tossed[1] == 1).all()
    assert tossed[0, ::2].mean() == pytest.approx(0.5, abs=0.04)
    assert (tossed[0, :-1:2] + tossed[0, 1::2] == 1).all()


@pytest.mark.parametrize("rule", TurnRule)
def test_worth_is_unbiased_and_propensities_are_those_of_the_lists(rule):
    rng = np.random.default_rng(5)
    for _ in range(20):
        values = rng.normal(size=(3, 9))
        slates = [Greedy().choose(one, k=5).order for one in values]
        mixture = mixed_lists(slates, values, draw_turns(rule, rng, teams=3, k=5), whole=0.3)
        place, attraction = mixture.places(9), rng.random(9)
        looked = examined(place, CURVE)
        expected = np.zeros(3)
        for shown, odds in enumerate(mixture.probability):
            outcome = looked[:, shown] * attraction
            expected += odds * debiased_worth(outcome, place, mixture.probability, CURVE, teams=3).sum(axis=0)
            same = (mixture.order == mixture.order[shown]).all(axis=1)
            assert mixture.choice(shown).propensity.prod() == pytest.approx(mixture.probability[same].sum())
        assert expected == pytest.approx([(CURVE[:5] * attraction[slate]).sum() for slate in slates])
        assert uncovered(place, mixture.probability, CURVE, teams=3) == 0


def test_equal_slates_get_equal_credit_whatever_is_clicked_and_the_better_one_more():
    turns, rng = np.array([[0, 1, 1, 0], [1, 0, 0, 1]]), np.random.default_rng(0)
    for slates, sign in (([OURS, OURS], 0), ([OURS, THEIRS], 1), ([THEIRS, OURS], -1)):
        mixture = mixed_lists(slates, VALUES[[0, 0]], turns)
        place, credit, worth = mixture.places(6), np.zeros(2), np.zeros(2)
        for shown, odds in enumerate(mixture.probability):
            clicked = mixture.order[shown] <= 2  # what `OURS` puts first
            outcome = np.where((place[:, shown] > 0) & (np.arange(6) <= 2), 1.0, 0.0) * CURVE[place[:, shown] - 1]
            split = team_credit(clicked * CURVE[:4], mixture.team_odds(shown, teams=2)).sum(axis=0)
            gain = debiased_worth(outcome, place, mixture.probability, CURVE, teams=2).sum(axis=0)
            credit, worth = credit + odds * split, worth + odds * gain
            if sign == 0:
                noise = debiased_worth(rng.random(6), place, mixture.probability, CURVE, teams=2)
                assert split[0] == split[1]
                assert (noise[:, 0] == noise[:, 1]).all()
        assert np.sign(np.round(credit[0] - credit[1], 12)) == sign
        assert np.sign(np.round(worth[0] - worth[1], 12)) == sign


def test_without_whole_slates_the_bottom_of_a_slate_is_not_covered():
    turns = np.array([[0, 1, 0, 1], [1, 0, 1, 0]])
    mixture = mixed_lists([OURS, np.array([4, 5, 3, 2])], VALUES, turns, whole=0.0)
    # 2 and 3 stand at places 3, 4 and 4, 3: nobody reaches them by turns.
    assert uncovered(mixture.places(6), mixture.probability, CURVE, teams=2) == pytest.approx(
        2 * (1 / 3 - 1 / 4) / (2 * (1 / 3 - 1 / 4) + 2 * (1 + 1 / 2))
    )


def test_rules_hold_in_every_list():
    rng = np.random.default_rng(2)
    rules = (MerchantCap(2), Newcomers(2))
    for _ in range(30):
        merchant = rng.integers(0, 6, 20)
        newcomer = merchant == 0
        attributes, values = ItemAttributes({"merchant": merchant, "newcomer": newcomer}), rng.normal(size=(2, 20))
        policy = SequentialSlate(rules=rules)
        slates = [policy.choose(one, k=8, rng=rng, attributes=attributes).order for one in values]
        turns = draw_turns(TurnRule.TEAM_DRAFT, rng, teams=2, k=8)
        mixture = mixed_lists(slates, values, turns, rules, attributes)
        for items in mixture.order:
            assert np.bincount(merchant[items]).max() <= 2
            assert newcomer[items].sum() >= min(2, newcomer.sum())
            assert len(set(items.tolist())) == 8


def test_a_list_ends_where_the_rules_leave_nobody():
    attributes = ItemAttributes({"merchant": np.zeros(6, int)})
    turns = draw_turns(TurnRule.BALANCED, np.random.default_rng(0), teams=2, k=4)
    mixture = mixed_lists([OURS[:2], THEIRS[:2]], VALUES, turns, (MerchantCap(2),), attributes)
    assert mixture.order[2].tolist() == [0, 3, -1, -1]
    assert len(mixture.choice(2).order) == 2
    assert mixture.places(6)[:, 2].tolist() == [1, 0, 0, 2, 0, 0]


def test_optimised_probabilities_cover_and_balance():
    rng = np.random.default_rng(7)
    values = rng.normal(size=(2, 10))
    slates = [Greedy().choose(one, k=6).order for one in values]
    turns = np.vstack([draw_turns(TurnRule.TEAM_DRAFT, rng, teams=2, k=6) for _ in range(3)])
    mixture = mixed_lists(slates, values, turns)
    place = mixture.places(10)
    looked, lean = examined(place, CURVE), {}
    fair = looked[:, :2].mean(axis=1)
    apart = np.divide(looked[:, 1] - looked[:, 0], fair, out=np.zeros(10), where=fair > 0)
    for least in (0.3, 1.0):
        chosen = optimised_probability(place, CURVE, teams=2, least=least)
        assert chosen.sum() == pytest.approx(1)
        assert (looked @ chosen >= least * fair - 1e-6).all()
        lean[least] = chosen @ np.square(apart @ looked)
    assert lean[0.3] < lean[1.0]


def test_a_difference_within_units_has_the_error_of_its_units():
    rng = np.random.default_rng(1)
    gain, requests = rng.normal(0.3, 1, 400), rng.integers(1, 5, 400).astype(float)
    arm = unit_sums({"gain": gain, "requests": requests}, np.zeros(400, int), groups=1)[0].means
    contrast = within(arm, Ratio("gain"))
    assert float(contrast.value) == pytest.approx(gain.mean())
    assert float(contrast.error) == pytest.approx(gain.std(ddof=1) / 20)
    per_request = within(arm, Ratio("gain", "requests"))
    residual = (gain - gain.sum() / requests.sum() * requests) / requests.mean()
    assert float(per_request.error) == pytest.approx(residual.std(ddof=1) / 20)
    nothing = unit_sums({"gain": 0 * gain}, np.zeros(400, int), groups=1)[0].means
    assert isinstance(within(nothing, Ratio("gain")).fixed(), Missing)


def test_reading_joins_lists_outcomes_and_shoppers():
    experiment, slates, feedback = experiment_log(file=FILE.replace('up.toml"', 'up.toml"\ninterleave = "balanced"'))
    mixed = np.flatnonzero(variant_column(slates, experiment.name) == "clicks_up")[:300]
    kept, lists = [], {}
    for slate in table_to_slates(slates.take(mixed)):
        place = np.stack([slate.position, np.where(slate.position > 0, slate.position.max() + 1 - slate.position, 0)])
        numeric = {f"{LIST_PLACE}{number}": row.astype(np.float32) for number, row in enumerate(place)}
        numeric |= {f"{LIST_ODDS}{number}": np.array([0.5], np.float32) for number in range(2)}
        numeric[RIVAL_ODDS] = (place[0] % 2).astype(np.float32)
        kept.append(replace(slate, numeric={**slate.numeric, **numeric}))
        lists[slate.request_id] = place
    joined = attribute(slates_to_table(kept), feedback)
    reading = read_experiment(joined, experiment, as_of=experiment.end)
    read = {one.outcome: one for one in reading.interleaved}
    assert list(read) == ["clicks", "orders", "gmv", "net_gmv"]

    gain, total, preferred, clicks = 0.0, 0.0, 0.0, 0.0
    click, start = joined.labels["click"].to_numpy(), 0
    for slate in kept:
        curve, place = 1 / np.log2(1 + np.arange(1, 30)), lists[slate.request_id]
        for item in range(len(slate)):
            if click[start + item]:
                ours, theirs = (curve[place[team, item] - 1] for team in (0, 1))
                gain += (theirs - ours) / (ours + theirs) * 2
                total += ours / (ours + theirs) * 2
                preferred += 1 if place[0, item] % 2 else -1
                clicks += 1
        start += len(slate)
    one = read["clicks"]
    assert one.assumed
    assert (clicks > 50, one.difference.value) == (True, pytest.approx(gain / len(kept)))
    assert one.relative.value == pytest.approx(gain / total)
    assert one.preferred.value == pytest.approx(preferred / clicks)
    assert one.difference.n == len({slate.user_id for slate in kept})
    watched = read_experiment(attribute(log_columns(slates_to_table(kept)), feedback), experiment, as_of=experiment.end)
    assert [vars(one)["relative"] for one in watched.interleaved] == [one.relative for one in reading.interleaved]
    rail, by_rival = (
        next(one for one in watched.guardrails if one.guardrail.metric == "net_gmv_per_user" and one.rival is rival)
        for rival in (False, True)
    )
    assert by_rival.relative.value == pytest.approx(read["net_gmv"].relative.value)
    assert (str(rail), str(by_rival)) == (
        "net_gmv_per_user >= -30.0%",
        "net_gmv_per_user >= -30.0%, by its interleaved policy",
    )
    harmed = replace(
        watched, guardrails=(replace(by_rival, state=GuardrailState.HARMED),), units=dict.fromkeys(watched.units, 999)
    )
    placed = PlacedExperiment(Path("x.toml"), experiment, ExperimentState())
    move = ramp_move(placed, harmed, now=experiment.start)
    assert (move.decision.kind, move.decision.variants) == (DecisionKind.STOP, ("clicks_up",))
    assert "clicks_up would change net_gmv_per_user" in move.sentence
    assert not read_experiment(attribute(slates.take(mixed), feedback), experiment, as_of=experiment.end).interleaved
    assert any(section.title.startswith("Interleaved") for section in reading_sections(reading, currency="SAR"))


def test_a_variant_interleaves_a_policy():
    with pytest.raises(DataError, match="interleaves no policy"):
        parse_experiment(FILE.replace('policy = "clicks_up.toml"', 'interleave = "balanced"'))
