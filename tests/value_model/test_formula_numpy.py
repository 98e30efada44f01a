"""The formula's grammar in NumPy: arithmetic, slate functions, broadcasting, and what it refuses."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketplace.finding import Where
from value_model.formula import PolicyError, evaluate, evaluate_all, evaluate_rows, parse_policy
from value_model.formula.parser import parse
from value_model.formula.tree import text

HEADER = 'name = "t"\nowner = "o"\nreason = "r"\ncurrency = "SAR"\nunit = "1"\n'
QUANTITIES = "".join(f'[quantities.{q}]\nunit = "1"\nlow = -10\nhigh = 10\n' for q in ("x", "y", "g"))


def policy_of(formula: str, *, weights: str = "") -> object:
    return parse_policy(f'{HEADER}[expressions]\nvalue = "{formula}"\n{QUANTITIES}{weights}')


def value_of(formula: str, mask: np.ndarray | None = None, **columns: object) -> np.ndarray:
    return evaluate(policy_of(formula), {k: np.asarray(v, float) for k, v in columns.items()}, mask=mask)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("x + 2 * y - 1", 3 + 2 * 4 - 1),
        ("-x ** 2", -9),
        ("x ^ 2", 9),
        ("(x + y) / 2", 3.5),
        ("x - (y - 1) - -1", 1),
        ("1 if x < y else 2", 1),
        ("where(x >= y or not y == 4, x, y)", 4),
        ("5 if 1 < x < y != 7 else 0", 5),
        ("clip(y, 0, 1) + max(x, y, 1) + min(x, y)", 1 + 4 + 3),
        ("log(exp(x)) + sqrt(y) + abs(-x) + log1p(0)", 3 + 2 + 3),
        ("sigmoid(0 * x)", 0.5),
    ],
)
def test_arithmetic_is_pythons(formula: str, expected: float) -> None:
    assert value_of(formula, x=[3.0], y=[4.0]) == pytest.approx([expected])


def test_slate_functions_look_along_the_slate() -> None:
    x = [3.0, 1.0, 3.0, 2.0]
    assert value_of("slate_mean(x)", x=x).tolist() == [2.25] * 4
    assert value_of("slate_sum(x) - slate_max(x) + slate_min(x)", x=x).tolist() == [9 - 3 + 1] * 4
    assert value_of("slate_rank(x)", x=x).tolist() == [1, 4, 1, 3]
    assert value_of("slate_minmax(x)", x=x).tolist() == [1, 0, 1, 0.5]
    assert value_of("slate_minmax(x)", x=[2.0, 2.0]).tolist() == [0, 0]
    assert value_of("slate_nth(x, g)", x=x, g=[7, 7, 7, 5]).tolist() == [0, 2, 1, 0]
    assert value_of("slate_std(x)", x=x) == pytest.approx(np.full(4, np.std(x)))


def test_slate_functions_leave_empty_slots_out() -> None:
    formula = "slate_mean(x) + 10 * slate_rank(x) + 100 * slate_minmax(x) + 1000 * slate_nth(x, g) + slate_std(x)"
    x, g = [[3.0, 1.0, 2.0], [5.0, 4.0, 99.0]], [[1, 1, 1], [2, 2, 2]]
    mask = np.array([[True, True, True], [True, True, False]])
    together = value_of(formula, mask, x=x, g=g)
    assert together[1, :2] == pytest.approx(value_of(formula, x=x[1][:2], g=g[1][:2]))
    assert together[0] == pytest.approx(value_of(formula, x=x[0], g=g[0]))


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 2)), min_size=1, max_size=30))
@settings(deadline=None)
def test_rank_and_nth_agree_with_counting(pairs: list[tuple[int, int]]) -> None:
    x, g = map(list, zip(*pairs, strict=True))
    rank = [1 + sum(other > mine for other in x) for mine in x]
    nth = [
        sum(g[j] == g[i] and (x[j] > x[i] or (x[j] == x[i] and j < i)) for j in range(len(x))) for i in range(len(x))
    ]
    assert value_of("slate_rank(x)", x=x).tolist() == rank
    assert value_of("slate_nth(x, g)", x=x, g=g).tolist() == nth


WEIGHT = '[weights.w]\nvalue = 2\nunit = "1"\nlow = 0\nhigh = 9\nreason = "r"\n'


def test_many_weightings_in_one_call_equal_one_call_each() -> None:
    policy = policy_of("w * x + slate_rank(w * x + y)", weights=WEIGHT)
    rng = np.random.default_rng(0)
    columns = {"x": rng.normal(size=(6, 5)), "y": rng.normal(size=(6, 5))}
    weights = np.array([0.5, 1.0, 3.0])
    together = evaluate(policy, columns, weights={"w": weights[:, None, None]})
    apart = [evaluate(policy, columns, weights={"w": w}) for w in weights]
    assert together.shape == (3, 6, 5)
    np.testing.assert_array_equal(together, np.stack(apart))


@pytest.mark.parametrize("formula", ["w * x + y", "w * x + slate_mean(y)"])
def test_flat_rows_equal_one_request_at_a_time(formula: str) -> None:
    policy = policy_of(formula, weights=WEIGHT)
    rng = np.random.default_rng(1)
    offsets = np.array([0, 3, 3, 8])
    columns = {"x": rng.normal(size=8), "y": rng.normal(size=8)}
    weights = np.array([1.0, 2.0, 3.0])
    flat = evaluate_rows(policy, columns, offsets, weights={"w": weights})
    for request, (start, end) in enumerate(itertools.pairwise(offsets)):
        rows = {name: column[start:end] for name, column in columns.items()}
        np.testing.assert_allclose(flat[start:end], evaluate(policy, rows, weights={"w": weights[request]}), rtol=1e-15)


def test_expressions_may_use_those_above_them() -> None:
    policy = parse_policy(f'{HEADER}[expressions]\nboth = "x + y"\nvalue = "both * both"\n{QUANTITIES}')
    values = evaluate_all(policy, {"x": np.array([1.0]), "y": np.array([2.0])})
    assert values["both"].tolist() == [3.0]
    assert values["value"].tolist() == [9.0]
    with pytest.raises(PolicyError, match="used before it is defined"):
        parse_policy(f'{HEADER}[expressions]\nvalue = "both * both"\nboth = "x + y"\n{QUANTITIES}')


def test_a_missing_column_or_weight_is_named() -> None:
    policy = policy_of("w * x + y", weights=WEIGHT)
    with pytest.raises(KeyError, match=r"columns \['y'\]"):
        evaluate(policy, {"x": np.ones(2)})
    with pytest.raises(KeyError, match=r"weights \['w'\]"):
        evaluate(policy, {"x": np.ones(2), "y": np.ones(2)}, weights={})


@pytest.mark.parametrize(
    "formula",
    [
        "__import__('os').system('true')",
        "x.real",
        "[x for x in y]",
        "(lambda: x)()",
        "x if y",
        "'text'",
        "1j",
        "True",
        "x @ y",
        "x // y",
        "x % y",
        "x in y",
        "max(x)",
        "clip(x, low=0, high=1)",
        "min(*x)",
        "(x := 1)",
        "x[0]",
        "1e999",
        "9" * 400,
        "9" * 4500,
        "abs(" * 60 + "x" + ")" * 60,
        "-" * 3000 + "x",
        "x" * 5000,
        "\0",
        "",
        "f'{x}'",
        "slate_rank(x, y)",
        "open(x)",
    ],
)
def test_everything_outside_the_grammar_is_refused(formula: str) -> None:
    with pytest.raises(PolicyError, match=r"p\.toml:3: error"):
        parse(formula, where=Where("p.toml", 3))


@given(st.text(max_size=60) | st.text(alphabet="xy01.+-*/^()<>=, eminaxclogwhr_[]'\"\n\\", max_size=60))
@settings(max_examples=400, deadline=None)
def test_the_parser_raises_nothing_but_policy_errors(formula: str) -> None:
    try:
        tree = parse(formula, where=Where("p.toml"))
    except PolicyError:
        return
    assert parse(text(tree), where=Where("p.toml")) == tree


def test_a_long_sum_is_not_deep() -> None:
    assert value_of(" + ".join(["x"] * 500), x=[1.0]).tolist() == [500.0]
