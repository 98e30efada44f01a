"""Every check finds its harm, with line and fix, and leaves sound policies alone."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evaluation.estimate import Estimate
from marketplace.finding import Severity, Where
from value_model.formula import (
    PolicyError,
    default_policy,
    intervals,
    parse_policy,
    shipped_policies,
    shipped_policy,
    to_toml,
)
from value_model.formula.intervals import Interval, KnownIntervals
from value_model.formula.logged_slates import LoggedSlates
from value_model.formula.lowering import lower
from value_model.formula.numpy_operations import numpy_operations
from value_model.formula.parser import parse
from value_model.formula.tree import Name
from value_model.policy_checks import check_policy, check_policy_file, logged_calibration
from value_model.policy_checks.calibration import calibration_by_surface
from value_model.slate_policies.epsilon_greedy import EpsilonGreedy
from value_model.slate_policies.plackett_luce import PlackettLuce
from value_model.tuning.influence import influence, influence_of_weights

HEADER = (
    'name = "t"\nowner = "o"\nreason = "r"\ncurrency = "SAR"\nunit = "{unit}"\n[expressions]\nvalue = "{formula}"\n'
)
WEIGHT = '[weights]\nw = {{ value = {w}, unit = "{of}", low = {low}, high = {high}, reason = "r"{more} }}\n'


def findings_of(
    formula: str, *, unit: str = "1", w: float = 1, of: str = "1", low: float = 0.5, high: float = 2, more=""
):
    text = HEADER.format(unit=unit, formula=formula)
    if "w *" in formula or "** w" in formula:
        text += WEIGHT.format(w=w, of=of, low=low, high=high, more=more)
    return check_policy(parse_policy(text, file="p.toml"))


@pytest.mark.parametrize("name", shipped_policies())
def test_no_shipped_policy_has_an_error(name: str) -> None:
    assert [finding for finding in check_policy(shipped_policy(name)) if finding.severity is Severity.ERROR] == []


@pytest.mark.parametrize(
    ("rule", "formula", "unit"),
    [
        ("sign", "number(ctr) - 2 * number(ctcvr)", "1"),
        ("sign", "(gmv - price * ctcvr) * 1", "SAR / impression"),
        ("discount", "(quality - return_rate) * newness", "1"),
        ("discount", "(quality - refusal_rate) / (1 + slate_rank(quality))", "1"),
        ("undefined", "log(ctr)", "1"),
        ("undefined", "quality / newness", "1"),
        ("undefined", "sqrt(quality - newness)", "1"),
        ("undefined", "(quality - newness) ** 0.5", "1"),
        ("undefined", "quality ** -1", "1"),
        ("overflow", "exp(number(price))", "1"),
        ("erased", "number(ctr) ** 0.5 * number(cvr) ** 0.5", "1"),
        ("erased", "gmv * quality", "SAR / impression"),
    ],
)
def test_each_rule_finds_its_harm(rule: str, formula: str, unit: str) -> None:
    findings = [finding for finding in findings_of(formula, unit=unit) if finding.rule == rule]
    assert findings
    assert findings[0].where == Where("p.toml", 7)
    assert findings[0].fix


@pytest.mark.parametrize(
    ("formula", "unit"),
    [
        ("(quality - return_rate) * newness if quality - return_rate > 0 else quality - return_rate", "1"),
        ("max(quality - return_rate, 0) * newness", "1"),
        ("(quality - return_rate) / max(slate_std(quality), 0.01)", "1"),
        ("log(clip(ctr, 0.001, 1))", "1"),
        ("quality / (0.1 + newness)", "1"),
        ("ctr * cvr * order_value", "SAR / impression"),
        ("(1 + number(ctr)) ** 0.5 * (1 + 10 * number(ctcvr)) ** 0.5", "1"),
        ("sqrt(quality) + (quality + 1 if not quality < 0.5 else 0)", "1"),
    ],
)
def test_sound_formulas_pass(formula: str, unit: str) -> None:
    rules = {finding.rule for finding in findings_of(formula, unit=unit)}
    assert not rules & {"undefined", "overflow", "discount"}


@pytest.mark.parametrize(
    ("formula", "unit"),
    [
        ("ctr * cvr * order_value", "SAR / impression"),
        ("(1 + number(ctr)) ** 0.5 * (1 + 10 * number(ctcvr)) ** 0.5", "1"),
        ("number(ctr) + 10 * number(ctcvr)", "1"),
    ],
)
def test_expectations_shifted_powers_and_sums_are_not_erased(formula: str, unit: str) -> None:
    assert findings_of(formula, unit=unit) == []


def test_an_owner_decay_without_its_condition_is_caught() -> None:
    text = to_toml(shipped_policy("owner_decay"))
    broken = parse_policy(text.replace("net * decay_factor if net > 0 else net", "net * decay_factor"))
    assert "discount" in {finding.rule for finding in check_policy(broken)}
    assert "discount" not in {finding.rule for finding in check_policy(shipped_policy("owner_decay"))}


def test_a_weight_that_is_harmful_on_one_surface_is_named_with_it() -> None:
    findings = findings_of(
        "ctr + w * ctcvr", unit="click / impression", of="click / order", low=-2, more=", surface = { search = -1 }"
    )
    assert [(finding.rule, "on search" in finding.reason) for finding in findings] == [("sign", True)]


def test_danger_at_the_bounds_is_a_warning() -> None:
    (finding,) = findings_of("quality / (w * 1 + 0 * quality)", low=0.0)
    assert (finding.rule, finding.severity) == ("undefined", Severity.WARNING)


def test_weights_moved_out_of_bounds_are_found() -> None:
    (finding,) = check_policy(default_policy().with_weights({"w_click": 7.0}))
    assert finding.rule == "bounds"
    assert "w_click: value 7 lies outside [0, 1]" in finding.reason


def test_a_file_that_does_not_load_gives_its_findings(tmp_path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(HEADER.format(unit="SAR / impression", formula="ctr + gmv"))
    (finding,) = check_policy_file(path)
    assert (finding.rule, finding.where.line) == ("units", 7)


names = {"x": Interval(-2.0, 3.0), "y": Interval(0.5, 4.0), "z": Interval(0.0, 1.0)}
leaves = st.sampled_from(["x", "y", "z", "0.5", "2", "1"])
formulas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(st.sampled_from(["abs", "exp", "log", "sqrt", "sigmoid", "slate_mean", "slate_rank"]), inner).map(
            lambda t: f"{t[0]}({t[1]})"
        ),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        st.tuples(inner, st.sampled_from(["2", "3", "0.5", "-1", "z"])).map(lambda t: f"({t[0]}) ** ({t[1]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} > {t[2]} else {t[1]})"),
    ),
    max_leaves=6,
)


@given(formulas, st.integers(0, 2**32 - 1))
@example("(x if y > (x) ** (0.5) else y)", 0)
@settings(max_examples=300, deadline=None)
def test_an_interval_never_misses_a_value(formula: str, seed: int) -> None:
    tree = parse(formula, where=Where("p"))
    rng = np.random.default_rng(seed)
    columns = {
        name: rng.choice([span.low, span.high, *rng.uniform(span.low, span.high, 3)], 60)
        for name, span in names.items()
    }
    with np.errstate(all="ignore"):
        values = np.asarray(lower(tree, columns, operations=numpy_operations((60,)), constant=np.float64), float)
    span = KnownIntervals({Name(name): interval for name, interval in names.items()}).interval_of(tree)
    slack = 1e-9 * max(1.0, *(abs(end) for end in (span.low, span.high) if np.isfinite(end)), 1.0)
    if not span.undefined:
        assert (values >= span.low - slack).all()
        assert (values <= span.high + slack).all()


def test_conditions_narrow_what_they_test() -> None:
    known = KnownIntervals({Name("x"): Interval(-2.0, 3.0)})
    condition = parse("x > 0 and x <= 1", where=Where("p"))
    assert known.narrowed(condition, holds=True).known[Name("x")] == Interval(0.0, 1.0)
    assert known.narrowed(parse("not x > 0", where=Where("p")), holds=True).known[Name("x")] == Interval(-2.0, 0.0)


def test_conditions_within_conditions_are_computed_once_each(monkeypatch) -> None:
    evaluations = []
    negated = intervals._RULES["neg"]
    monkeypatch.setitem(intervals._RULES, "neg", lambda x: evaluations.append(x) or negated(x))
    formula = "x"
    for _ in range(8):
        formula = f"(x if {formula} > 0 else -x)"
    tree = parse(formula, where=Where("p"))
    assert KnownIntervals({Name("x"): Interval(-2.0, 3.0)}).interval_of(tree) == Interval(-3.0, 3.0)
    assert len(evaluations) <= 8


def test_a_policy_that_is_too_large_to_check_is_refused_with_its_line() -> None:
    head = 'name = "n"\nowner = "o"\nreason = "r"\ncurrency = "SAR"\nunit = "1"\n[expressions]\ne0 = "newness"\n'
    doubled = "".join(f'e{i} = "e{i - 1} + e{i - 1}"\n' for i in range(1, 41))
    with pytest.raises(PolicyError, match=r"p.toml:20: error: e13 has 16,383 parts with the expressions in it written"):
        parse_policy(f'{head}{doubled}value = "e40"\n', file="p.toml")
    weight = 'value = "w * e0"\n[weights.w]\nvalue = 1\nunit = "1"\nlow = 0\nhigh = 3\nreason = "r"\n'
    segments = "".join(f"s{i} = 2\n" for i in range(1001))
    with pytest.raises(PolicyError, match=r"p.toml:10: error: w: there are overrides for 1,001 surfaces and segments"):
        parse_policy(f"{head}{weight}[weights.w.segment]\n{segments}", file="p.toml")


def market(rng: np.random.Generator, requests: int = 60, items: int = 20) -> LoggedSlates:
    shape = (requests, items)
    columns = {
        "ctr": rng.beta(2, 40, shape),
        "ctcvr": rng.beta(2, 900, shape),
        "gmv": rng.lognormal(-1.5, 0.7, shape),
        "commission_rate": rng.uniform(0.05, 0.2, shape),
        "quality": rng.beta(8, 2, shape),
        "newness": rng.random(shape) ** 8,
    }
    surface = np.array(["home", "search"])[rng.integers(0, 2, requests)]
    return LoggedSlates(columns, np.ones(shape, bool), surface)


def test_terms_that_decide_nothing_or_everything_are_named() -> None:
    slates = market(np.random.default_rng(0))
    rules = {f.rule for f in check_policy(default_policy(), slates=slates)}
    assert not rules & {"negligible", "crushing"}
    faint = check_policy(default_policy().with_weights({"w_click": 1e-4}), slates=slates)
    assert {f.rule for f in faint} == {"negligible"}
    assert all("ctr makes" in f.reason and f.where == default_policy().weight["w_click"].where for f in faint)
    loud = check_policy(
        default_policy().with_weights({"w_order": 40.0, "w_gmv": 0.0, "w_merchant": 0.0}), slates=slates
    )
    assert ("crushing", True) in {(f.rule, "ctcvr makes" in f.reason) for f in loud}


def test_searches_that_value_alone_ranks_are_warned_of() -> None:
    slates = market(np.random.default_rng(3))
    plain = replace(default_policy(), slate=None)
    assert "relevance" in {f.rule for f in check_policy(plain, slates=slates)}
    assert "relevance" not in {f.rule for f in check_policy(plain, slates=slates.on("home"))}
    assert "relevance" not in {f.rule for f in check_policy(default_policy(), slates=slates)}


@pytest.mark.parametrize(
    ("exploration", "kept"), [(EpsilonGreedy(0.7), 0.3), (EpsilonGreedy(0.3), 0.7), (PlackettLuce(1e9), 0.0)]
)
def test_exploration_that_leaves_the_value_no_say_is_named_with_what_it_leaves(exploration, kept) -> None:
    section = replace(default_policy().slate, exploration=exploration)
    found = check_policy(replace(default_policy(), slate=section), slates=market(np.random.default_rng(4)))
    reasons = [f.reason for f in found if f.rule == "drawn"]
    if kept > 0.5:
        assert reasons == []
    else:
        assert [f"leaves {kept:.0%} " in reason for reason in reasons] == [True, True]  # home and search


def test_a_head_that_is_off_where_it_counts_is_named() -> None:
    off = {"store_page": {"gmv": Estimate(1.5, 1.3, 1.7, 100), "ctr": Estimate(1.02, 0.9, 1.1, 100)}}
    (finding,) = check_policy(default_policy(), calibration=off)
    assert finding.rule == "calibration"
    assert "gmv promises 1.5" in finding.reason
    silent = default_policy().with_weights({"w_gmv": 0.0})
    assert check_policy(silent, calibration=off) == []  # merchant_value weighs 0 on the store page, too


def test_calibration_by_surface_recovers_a_planted_ratio() -> None:
    rng = np.random.default_rng(1)
    request = np.repeat(np.arange(4000), 10)
    surface = np.array(["home", "search"])[np.arange(4000) % 2]
    truth = rng.beta(2, 18, len(request))
    predicted = truth * np.where(surface[request] == "search", 1.3, 1.0)
    clicks = (rng.random(len(request)) < truth).astype(float)
    ratios = calibration_by_surface({"ctr": predicted}, {"ctr": clicks}, request, surface)
    assert ratios["home"]["ctr"].low < 1.0 < ratios["home"]["ctr"].high
    assert ratios["search"]["ctr"].low < 1.3 < ratios["search"]["ctr"].high
    assert ratios["search"]["ctr"].low > 1.1


def test_calibration_reads_heads_where_their_condition_holds() -> None:
    """Two equal requests of three items by hand; the last item was not shown and must not count."""
    heads = {"ctr": [0.5, 0.25, 0.9], "cvr": [0.5, 0.1, 0.9], "gmv": [5.0, 1.0, 99.0]}
    slates = pa.table(
        {
            "item_id": [["a", "b", "c"]] * 2,
            "position": pa.array([[1, 2, None]] * 2, pa.list_(pa.int32())),
            "surface": ["home", "home"],
            "predictions": pa.array([list(heads.items())] * 2, pa.map_(pa.string(), pa.list_(pa.float64()))),
        }
    )
    labels = pa.table(
        {
            "mature": [True] * 6,
            "click": [True, False, False] * 2,
            "order": [True, False, False] * 2,
            "order_value": [12.0, 0.0, 0.0] * 2,
        }
    )
    ratios = logged_calibration(slates, labels)["home"]
    assert set(ratios) == {"ctr", "cvr", "gmv"}
    assert ratios["ctr"].value == pytest.approx(0.75)
    assert ratios["cvr"].value == pytest.approx(0.5)
    assert ratios["gmv"].value == pytest.approx(0.5)


def test_influence_counts_what_leaves_the_top() -> None:
    """Two slates by hand: without the second term the first slate swaps its top item, the second does not change."""
    quantities = "".join(f'[quantities.{q}]\nunit = "1"\nlow = 0\nhigh = 10\n' for q in "xy")
    policy = parse_policy(
        HEADER.format(unit="1", formula="x + w * y") + quantities + WEIGHT.format(w=1, of="1", low=0, high=2, more="")
    )
    columns = {"x": np.array([[3.0, 2.0, 0.0], [3.0, 2.0, 0.0]]), "y": np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]])}
    _, y = influence(policy, columns, k=1)
    assert y.label == "y"
    assert y.displaced.value == 0.5
    assert y.ndcg_gap.value == pytest.approx((1 - 3 / 4) / 2)


def test_a_term_of_equal_worth_for_all_has_no_influence() -> None:
    slates = market(np.random.default_rng(2))
    flat = slates.columns | {"ctr": np.full(slates.mask.shape, 0.05)}
    click = influence(default_policy(), flat, k=5)[0]
    assert (click.label, click.displaced.value, click.share) == ("ctr", 0.0, pytest.approx(0.0, abs=1e-12))


def test_influence_of_a_formula_that_is_no_sum_is_by_weight() -> None:
    policy = shipped_policy("funnel_power")
    rng = np.random.default_rng(3)
    columns = {name: rng.random((30, 10)) for name in policy.inputs}
    terms = influence(policy, columns, k=3)
    assert [term.label for term in terms] == ["a", "b", "c"]
    assert sum(term.share for term in terms) == pytest.approx(1.0)
    assert all(term.displaced.value > 0 for term in terms)


def test_weights_inside_a_terms_own_formula_have_their_influence() -> None:
    """By hand: without v, which is a part of another part, the first of two slates swaps its top item."""
    quantities = "".join(f'[quantities.{q}]\nunit = "1"\nlow = 0\nhigh = 10\n' for q in "xy")
    header = HEADER.format(unit="1", formula="w * x + part").replace("value =", 'part = "x + v * y"\nvalue =')
    weight = WEIGHT.format(w=1, of="1", low=0, high=2, more="")
    policy = parse_policy(header + quantities + weight + weight.splitlines()[1].replace("w = {", "v = {") + "\n")
    columns = {"x": np.array([[3.0, 2.0, 0.0], [3.0, 2.0, 0.0]]) / 2, "y": np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]])}
    w, v = influence_of_weights(policy, columns, k=1)
    assert (w.label, v.label) == ("w", "v")
    assert (w.displaced.value, v.displaced.value) == (0.0, 0.5)
    assert v.ndcg_gap.value == pytest.approx((1 - 3 / 4) / 2)
    moved = [np.std([1.5, 1, 0]), np.std([0, 2, 0]) / 2]
    assert [w.share, v.share] == pytest.approx(np.divide(moved, sum(moved)))


@pytest.mark.parametrize(
    ("number", "reason"),
    [("9" * 5000, "a number has 1,000 digits"), ("0x" + "f" * 900, "prior is no whole number of 64 bits")],
)
def test_a_number_that_python_would_not_even_print_is_refused_with_its_line(number: str, reason: str) -> None:
    head = 'name = "n"\nowner = "o"\nreason = "r"\ncurrency = "SAR"\nunit = "1"\n'
    with pytest.raises(PolicyError, match=rf"p.toml:6: error: {reason}"):
        parse_policy(f'{head}prior = {number}\n[expressions]\nvalue = "newness"\n', file="p.toml")
    with pytest.raises(PolicyError, match=r"p.toml:7: error: a number"):
        parse_policy(f'{head}[expressions]\nvalue = "newness * {number}"\n', file="p.toml")
