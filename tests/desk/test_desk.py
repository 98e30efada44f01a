"""The desk: what is moved is moved, what is promised is what `predict` says, and what is saved can be trusted."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from desk_toy import CURVE, POLICY, SHOWN, toy

from desk.desk import Desk
from desk.guardrails import GuardrailStatus
from desk.policy_changes import MergeConflict
from desk.publication import RefusedError, StaleBase
from desk.scope import EVERYWHERE, Scope
from evaluation.estimate import Estimate
from value_model.formula import load_policy, parse_policy, to_toml
from value_model.formula.value_policy import Override
from value_model.slate_policies.epsilon_greedy import EpsilonGreedy
from value_model.slate_policies.slate_section import SlateSection
from value_model.tuning import BoundKind, Constraint, Dimension, Estimator, PredictConfig, predict

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
CONFIG = PredictConfig(objective="ctr")
SEARCH = Scope(Dimension.SURFACE, "search")


@pytest.fixture
def desk(tmp_path):
    return Desk(toy(tmp_path))


def light(view, metric):
    return next(row.status for row in view.guardrails if row.constraint.metric == metric)


def test_nothing_moved_changes_nothing(desk):
    view = desk.view()
    assert (view.rank_changes.first, view.rank_changes.places) == (0, 0)
    assert all(change.difference.low == change.difference.high == 0 for change in view.prediction.changes.values())
    assert {row.status for row in view.guardrails} == {GuardrailStatus.GREEN}
    assert all(slate.before == slate.after for slate in view.slates)


@pytest.mark.parametrize("weights", [{"w_new": 0.2}, {"w_new": 0.0}, {"w_click": 3.0, "w_new": 0.01}])
def test_the_prediction_is_that_of_predict(desk, weights):
    view = desk.move(weights)
    expected = predict(desk.material.evidence, POLICY, weights, rng=np.random.default_rng(1), config=CONFIG)
    assert view.prediction.estimator is expected.estimator is Estimator.DR
    for name, change in expected.changes.items():
        for part in ("now", "proposed", "difference", "relative"):
            ours, theirs = getattr(view.prediction[name], part), getattr(change, part)
            assert ours.value == pytest.approx(theirs.value, rel=1e-10, abs=1e-12)
            assert ours.high - ours.low == pytest.approx(theirs.high - theirs.low, rel=0.25)


def test_requests_are_ranked_again_as_by_hand(desk):
    view = desk.move({"w_click": 2.0, "w_new": 0.3})
    columns, items = desk.material.evidence.slates.columns, desk.material.names.items
    assert view.slates[0].labels == ("ctr", "newness")
    for slate in view.slates:
        row = next(r for r in range(600) if slate.after[0].item in items[desk.material.names.item[r]])
        for weights, placed_items in (((1.0, 0.05), slate.before), ((2.0, 0.3), slate.after)):
            value = weights[0] * columns["ctr"][row] + weights[1] * columns["newness"][row]
            order = np.argsort(-value, kind="stable")
            assert [placed.item for placed in placed_items] == items[desk.material.names.item[row]][order][
                :SHOWN
            ].tolist()
            assert [placed.value for placed in placed_items] == pytest.approx(value[order][:SHOWN], rel=1e-12)
            assert [sum(placed.terms) for placed in placed_items] == [placed.value for placed in placed_items]


def test_an_item_that_climbs_says_so(desk):
    slates = desk.move({"w_new": 5.0}).slates
    climbed = [item.climbed for slate in slates for item in slate.after]
    assert max(climbed) > 0
    for slate in slates:
        was = {item.item: item.place for item in slate.before}
        assert all(item.other_place == was[item.item] for item in slate.after if item.item in was)
        assert slate.moved == sum(was.get(item.item) != item.place for item in slate.after)


def test_more_weight_on_newcomers_shows_more_of_them_and_costs_clicks(desk):
    view = desk.move({"w_new": 5.0})
    assert view.prediction["newcomer_exposure"].difference.low > 0
    assert view.prediction["ctr"].difference.high < 0
    assert light(view, "ctr") is GuardrailStatus.RED
    assert light(view, "newcomer_exposure") is GuardrailStatus.GREEN
    assert view.rank_changes.first > 0.1


def test_a_log_that_was_not_randomised_promises_nothing(tmp_path):
    from dataclasses import replace

    material = toy(tmp_path)
    desk = Desk(replace(material, evidence=replace(material.evidence, exposure=None)))
    view = desk.move({"w_new": 0.0})
    assert view.prediction.estimator is Estimator.DIRECT
    assert "not randomised" in view.prediction.problems[0]
    assert view.prediction.experiment.requests_per_arm > 0
    assert GuardrailStatus.GREEN not in {row.status for row in view.guardrails}


def test_a_surface_moves_alone(desk):
    desk.look(SEARCH)
    view = desk.move({"w_new": 1.0})
    assert view.weights == {"w_click": 1.0, "w_new": 1.0}
    assert desk.draft.weight["w_new"].surface == (Override("search", 1.0),)
    assert view.rank_changes.places > 0
    assert desk.look(Scope(Dimension.SURFACE, "home")).rank_changes.places == 0
    everywhere = desk.look(EVERYWHERE)
    assert everywhere.weights["w_new"] == 0.05
    assert 0 < everywhere.rank_changes.places < view.rank_changes.places
    desk.look(SEARCH)
    assert desk.follow("w_new").rank_changes.places == 0
    assert desk.draft == POLICY


def test_tabs_are_everywhere_each_surface_and_each_segment(desk):
    assert [str(scope) for scope in desk.scopes] == ["everywhere", "home", "search", "loyal", "new"]
    view = desk.look(Scope(Dimension.SEGMENT, "new"))
    assert view.prediction["ctr"].now.n == 300


def test_pages_show_other_requests(desk):
    first, second = desk.look(page=0).slates, desk.look(page=1).slates
    assert {s.after[0].item for s in first}.isdisjoint(s.after[0].item for s in second)
    assert desk.look(page=0).slates == first


def test_unknown_weights_are_refused(desk):
    with pytest.raises(ValueError, match="w_typo"):
        desk.move({"w_typo": 1.0})


def test_a_point_of_the_front_can_be_loaded(desk):
    explored = desk.explore(("newcomer_exposure", "ctr"))
    assert explored.front.metrics == ("newcomer_exposure", "ctr")
    last = len(explored.front.scores["ctr"].level) - 1
    view = desk.load(explored, last)
    assert {name: view.weights[name] for name in explored.weights(last)} == explored.weights(last)
    fewest = desk.load(explored, 0).prediction["newcomer_exposure"].proposed.value
    assert view.prediction["newcomer_exposure"].proposed.value > fewest


def with_overrides(desk):
    """A draft with a value of its own on each surface and for each segment."""
    for scope, value in (
        (SEARCH, 0.4),
        (Scope(Dimension.SURFACE, "home"), 0.1),
        (Scope(Dimension.SEGMENT, "loyal"), 0.2),
    ):
        desk.look(scope)
        desk.move({"w_new": value})


@pytest.mark.parametrize("scope", [EVERYWHERE, SEARCH, Scope(Dimension.SEGMENT, "new")], ids=str)
def test_a_front_is_of_its_tab_and_promises_what_loading_it_brings(desk, scope):
    """Points along the front, against serving the drafts themselves on the half that the search did not see."""
    with_overrides(desk)
    desk.look(scope)
    before = desk.draft
    explored = desk.explore(("newcomer_exposure", "ctr"))
    rows = scope.rows(desk.material.evidence)
    assert (explored.scope, explored.requests) == (scope, rows.sum())
    assert len(explored.tuned.searched) + len(explored.tuned.judged) == rows.sum()
    count = len(explored.front.scores["ctr"].level)
    assert count > 2
    for point in np.unique(np.linspace(0, count - 1, 5).astype(int)).tolist():
        desk.draft = before
        desk.look(EVERYWHERE)
        desk.load(explored, point)
        predicted = predict(
            explored.tuned.judged,
            before,
            desk.draft,
            rng=np.random.default_rng(0),
            estimator=Estimator.DR,
            config=CONFIG,
        )
        for metric in explored.front.metrics:
            score = explored.front.scores[metric]
            assert score.level[point] == pytest.approx(predicted[metric].proposed.value, rel=5e-3)
            assert score.level[point] - score.change[point] == pytest.approx(predicted[metric].now.value, rel=1e-9)


def test_loading_moves_the_weights_of_the_front_s_scope_alone(desk):
    with_overrides(desk)
    desk.look(SEARCH)
    before, explored = desk.draft, desk.explore(("newcomer_exposure", "ctr"))
    desk.look(Scope(Dimension.SURFACE, "home"))
    view = desk.load(explored, 0)
    assert view.scope == desk.scope == SEARCH
    assert view.weights == pytest.approx(explored.weights(0))
    for scope in (EVERYWHERE, Scope(Dimension.SURFACE, "home"), Scope(Dimension.SEGMENT, "loyal")):
        assert scope.weights(desk.draft) == scope.weights(before)


def test_the_best_weights_within_the_guardrails_can_be_loaded(tmp_path):
    desk = Desk(replace(toy(tmp_path, requests=2000), policy=POLICY.with_weights({"w_new": 0.3})))
    before = desk.view().prediction["ctr"].proposed.value
    explored = desk.explore(("newcomer_exposure", "ctr"))
    assert explored.tuned.promised
    view = desk.load(explored)
    assert {name: view.weights[name] for name in explored.weights()} == explored.weights()
    assert view.prediction["ctr"].proposed.value > before


def test_a_tab_with_too_few_requests_is_not_searched(tmp_path):
    desk = Desk(toy(tmp_path, requests=80))
    desk.look(SEARCH)
    with pytest.raises(ValueError, match="surface search has 40 requests here; a search needs 60"):
        desk.explore(("newcomer_exposure", "ctr"))
    desk.look(EVERYWHERE)
    explored = desk.explore(("newcomer_exposure", "ctr"))
    assert explored.requests == 80
    with pytest.raises(ValueError, match="no better weights can be promised for everywhere"):
        desk.load(explored)


def test_a_weight_that_is_off_decides_nothing(desk):
    desk.move({"w_new": 0.0})
    click, new = desk.influence()
    assert (click.label, new.label) == ("w_click", "w_new")
    assert (new.ndcg_gap.value, new.displaced.value, new.share) == (0, 0, 0)
    assert click.displaced.value > 1
    desk.look(SEARCH)
    desk.move({"w_new": 1.0})
    assert desk.influence()[1].displaced.value > 0.5
    assert desk.influence()[1].displaced.n == 300


def test_a_binding_guardrail_has_a_price(tmp_path):
    material = toy(tmp_path, requests=2000)
    held = (Constraint("newcomer_exposure", at_least=0.35),)
    desk = Desk(replace(material, policy=replace(material.policy, constraints=held)))
    (price,) = desk.explore(("newcomer_exposure", "ctr")).prices
    assert price.objective == "ctr"
    assert price.price.value > 0


def test_saving_writes_a_file_that_loads_and_is_in_force(desk, tmp_path):
    desk.move({"w_new": 0.06})
    saved = desk.save("ranking", "More newcomers for Ramadan.", now=NOW)
    kept = load_policy(tmp_path / "policies" / saved.record.file)
    assert (kept.version, kept.weight["w_new"].value) == (saved.record.version, 0.06)
    assert (kept.weight["w_new"].owner, kept.weight["w_new"].reason) == ("ranking", "More newcomers for Ramadan.")
    assert (saved.record.base, saved.record.approved_by) == (POLICY.version, ())
    assert kept.weight["w_click"] == POLICY.weight["w_click"]
    assert "-value = 0.05\n+value = 0.06" in saved.diff
    assert "w_click" not in saved.diff
    assert [(e.number, e.kind, e.owner) for e in desk.history()] == [(1, "found", "ranking"), (2, "saved", "ranking")]
    assert desk.history()[1].at == "2025-03-01T12:00:00+00:00"
    assert set(desk.history()[1].predicted) == set(desk.metrics)
    assert desk.policy == desk.draft == kept
    assert desk.view().rank_changes.places == 0
    assert Desk(desk.material).policy == kept


def test_rolling_back_is_a_new_line_with_the_old_content(desk):
    before = desk.policy
    desk.move({"w_new": 0.06})
    desk.save("ranking", "Try.", now=NOW)
    back = desk.rollback(1, "ranking", "It did not help.", now=NOW)
    assert back.record.version == before.version
    assert desk.policy == before
    assert [e.kind for e in desk.history()] == ["found", "saved", "rolled back"]
    assert load_policy(desk.versions.folder / "0003.toml") == before
    with pytest.raises(ValueError, match="no version 9"):
        desk.rollback(9, "ranking", "x", now=NOW)


@pytest.mark.parametrize(
    ("weights", "owner", "reason", "why"),
    [
        ({"w_new": 0.06}, " ", "reason", "owner and a reason"),
        ({"w_new": 0.06}, "ranking", "", "owner and a reason"),
        ({"w_new": 0.05}, "ranking", "reason", "nothing was changed"),
        ({"w_new": 6.0}, "ranking", "reason", "w_new"),
        ({"w_new": 5.0}, "ranking", "reason", "expected to break"),
    ],
)
def test_what_must_not_be_saved_is_refused(desk, weights, owner, reason, why):
    desk.move(weights)
    with pytest.raises(RefusedError, match=why):
        desk.save(owner, reason, now=NOW)
    assert desk.history() == ()


def test_what_changes_of_the_slate_is_said_to_be_unjudged_and_stays_on_record(desk):
    assert desk.check(desk.policy.with_weights({"w_new": 0.06})).noted == ()
    desk.draft = replace(desk.policy, slate=SlateSection(exploration=EpsilonGreedy(1.0)))
    desk.save("ranking", "Let the draw decide.", now=NOW)
    noted = desk.history()[-1].noted
    assert sum("[slate] changes, and what is predicted is of rankings by value" in line for line in noted) == 1
    assert sum("exploration leaves 0%" in line for line in noted) == 2  # of the two surfaces


def test_a_broken_guardrail_is_saved_only_knowingly_and_stays_on_record(desk):
    desk.move({"w_new": 5.0})
    desk.save("ranking", "Launch week: newcomers first.", now=NOW, despite=True)
    assert any("expected to break" in line and "ctr" in line for line in desk.history()[-1].noted)


def test_bounds_are_not_passed_despite_anything(desk):
    desk.move({"w_new": 6.0})
    with pytest.raises(RefusedError, match="w_new"):
        desk.save("ranking", "reason", now=NOW, despite=True)


def test_a_head_that_was_off_before_blocks_nobody(tmp_path):
    off = {"home": {"ctr": Estimate(1.5, 1.4, 1.6, 300)}, "search": {}}
    desk = Desk(toy(tmp_path, calibration=off))
    desk.move({"w_new": 0.06})
    explored = desk.check()
    assert [finding.rule for finding in explored.standing if finding.severity == "error"] == ["calibration"]
    assert explored.errors == ()
    desk.save("ranking", "reason", now=NOW)


def test_what_another_owns_needs_their_agreement(desk):
    desk.move({"w_new": 0.06})
    assert desk.agreement("Noura") == {"ranking": ("w_new 0.05 -> 0.06",)}
    with pytest.raises(RefusedError, match=r"they must agree first: ranking: w_new 0\.05 -> 0\.06"):
        desk.save("Noura", "reason", now=NOW)
    assert desk.history() == ()
    record = desk.save("Noura", "reason", now=NOW, approved_by=("ranking",)).record
    assert (record.owner, record.approved_by) == ("Noura", ("ranking",))
    assert desk.policy.weight["w_new"].owner == "ranking"


def test_two_desks_that_moved_the_same_weight_do_not_overwrite_each_other(desk):
    other = Desk(desk.material)
    desk.move({"w_new": 0.06})
    other.move({"w_new": 0.07})
    desk.save("ranking", "to 0.06", now=NOW)
    with pytest.raises(StaleBase, match="both changed the same") as refused:
        other.save("ranking", "to 0.07", now=NOW)
    assert refused.value.together is None
    assert [str(change) for change in other.behind] == ["w_new 0.05 -> 0.06"]
    with pytest.raises(MergeConflict):
        other.bring_in()
    assert other.draft.weight["w_new"].value == 0.07  # nothing of the draft is lost
    assert [e.reason for e in desk.history()[1:]] == ["to 0.06"]


def test_changes_of_different_weights_are_brought_together(desk):
    other = Desk(desk.material)
    desk.move({"w_new": 0.06})
    other.move({"w_click": 1.1})
    desk.save("ranking", "newcomers", now=NOW)
    with pytest.raises(StaleBase, match="which your changes do not touch") as refused:
        other.save("ranking", "clicks", now=NOW)
    other.bring_in()
    assert other.draft.weight["w_new"].value == refused.value.together.weight["w_new"].value == 0.06
    other.save("ranking", "clicks", now=NOW)
    assert {w.name: w.value for w in desk.service.served().policy.weights} == {"w_click": 1.1, "w_new": 0.06}


def test_small_losses_add_up_against_the_baseline(tmp_path):
    """Each step loses less than the guardrail allows, all of them more: the baseline is the policy found first."""
    material = toy(tmp_path, requests=2000)
    held = (Constraint("ctr", at_least=-0.05, of=BoundKind.RELATIVE, owner="ranking", reason="Clicks."),)
    desk = Desk(replace(material, policy=replace(material.policy, constraints=held)))
    desk.move({"w_new": 0.12})
    first = desk.view()
    assert light(first, "ctr") is not GuardrailStatus.RED
    desk.save("ranking", "a little", now=NOW)
    view = desk.move({"w_new": 0.18})
    step = view.prediction["ctr"].relative.value
    whole = predict(material.evidence, material.policy, {"w_new": 0.18}, rng=np.random.default_rng(1), config=CONFIG)
    assert step > -0.05 > whole["ctr"].relative.value
    assert light(view, "ctr") is GuardrailStatus.RED
    with pytest.raises(RefusedError, match="expected to break"):
        desk.save("ranking", "a little more", now=NOW)
    desk.save("ranking", "knowingly, and the new normal", now=NOW, despite=True, reviewed=True)
    assert desk.baseline == desk.policy
    assert light(desk.view(), "ctr") is GuardrailStatus.GREEN


def test_another_formula_is_judged_by_its_own_ranking(desk):
    text = to_toml(POLICY).replace("w_click * ctr + w_new * newness", "w_click * ctr - w_new * newness")
    outcomes = desk._of(EVERYWHERE)
    newness = desk.material.evidence.slates.columns["newness"]
    top = outcomes.order(parse_policy(text))
    assert np.take_along_axis(newness, top, 1).mean() < np.take_along_axis(newness, outcomes.top, 1).mean()


def test_the_curve_sums_to_what_is_examined(desk):
    assert desk._of(EVERYWHERE)._exposure.sum(axis=1) == pytest.approx(CURVE.sum())


def test_guardrails_are_the_policys_and_a_moved_bound_is_saved_with_the_version(tmp_path):
    material = toy(tmp_path)
    assert {c.metric for c in Desk(material).guardrails} >= {"ctr", "gmv"}  # the file has none: the standard ones
    held = (Constraint("ctr", at_least=-0.02, of=BoundKind.RELATIVE, owner="growth", reason="Clicks."),)
    desk = Desk(replace(material, policy=replace(material.policy, constraints=held)))
    assert desk.guardrails == held
    desk.move({"w_new": 0.06})
    saved = desk.save("ranking", "More newcomers.", now=NOW)
    assert load_policy(tmp_path / "policies" / saved.record.file).constraints == held
    desk.guard("ctr, relative change at least", -0.03)
    assert "-at_least = -0.02\n+at_least = -0.03" in desk.diff
    with pytest.raises(RefusedError, match="growth: ctr, relative change at least"):
        desk.save("ranking", "Clicks may fall further.", now=NOW)
    saved = desk.save("ranking", "Clicks may fall further.", now=NOW, approved_by=("growth",))
    (kept,) = load_policy(tmp_path / "policies" / saved.record.file).constraints
    assert (kept.bound, kept.owner, kept.reason) == (-0.03, "growth", "Clicks may fall further.")
