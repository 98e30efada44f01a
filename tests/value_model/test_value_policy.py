"""The value policy as a file: round trip, version, overrides, currency, and errors with line and fix."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from value_model.formula import (
    PolicyError,
    default_policy,
    evaluate,
    load_policy,
    parse_policy,
    shipped_policies,
    shipped_policy,
    to_toml,
)

SMALL = """name = "small"
owner = "o"
reason = "r"
currency = "SAR"
unit = "SAR / impression"
prior = 100

[expressions]
value = "w_click * ctr + gmv"

[weights.w_click]
value = 0.14
unit = "SAR / click"
low = 0
high = 1
sign = "+"
reason = "r"
surface = { search = { value = 0.34, evidence = 300 }, home = 0.5 }
segment = { new = { value = 0.0, evidence = 100 } }
"""


def broken(old: str, new: str) -> str:
    assert old in SMALL
    with pytest.raises(PolicyError) as caught:
        parse_policy(SMALL.replace(old, new), file="p.toml")
    return str(caught.value)


def test_the_default_is_the_readme_formula_in_riyals() -> None:
    columns = {"ctr": 0.05, "ctcvr": 0.002, "gmv": 0.3, "commission_rate": 0.1, "quality": 0.9, "newness": 0.5}
    merchant_value = 0.1 * 0.3 + 0.004 * 0.9 + 0.003 * 0.5
    by_hand = 0.14 * 0.05 + 4.0 * 0.002 + 0.05 * 0.3 + 1.0 * merchant_value
    value = evaluate(default_policy(), {name: np.array([x]) for name, x in columns.items()})
    assert value == pytest.approx([by_hand], rel=1e-14)


@pytest.mark.parametrize("name", shipped_policies())
def test_every_shipped_policy_survives_the_round_trip(name: str) -> None:
    policy = shipped_policy(name)
    again = parse_policy(to_toml(policy))
    assert again == policy
    assert again.version == policy.version


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda t: t.strip())
finite = st.floats(0, 1, allow_nan=False)


@given(words, words, finite, st.none() | st.floats(0, 1e9))
@settings(max_examples=60, deadline=None)
def test_any_text_and_number_survives_the_round_trip(owner: str, key: str, value: float, evidence: float) -> None:
    policy = parse_policy(SMALL)
    override = dataclasses.replace(policy.weights[0].surface[0], key=key, value=value, evidence=evidence)
    weight = dataclasses.replace(policy.weights[0], owner=owner, value=value, surface=(override,))
    changed = dataclasses.replace(policy, owner=owner, weights=(weight,))
    assert parse_policy(to_toml(changed)) == changed


def test_the_version_follows_the_content_and_not_its_spacing() -> None:
    policy = parse_policy(SMALL)
    assert parse_policy(SMALL.replace("w_click * ctr + gmv", "(w_click*ctr)  +  gmv")).version == policy.version
    for old, new in (("0.14", "0.15"), ('reason = "r"', 'reason = "s"'), ("ctr + gmv", "ctr - gmv"), ("300", "301")):
        assert parse_policy(SMALL.replace(old, new)).version != policy.version


def test_overrides_shrink_towards_the_global_weight() -> None:
    policy = parse_policy(SMALL)
    assert policy.weights_for(surface="store_page") == {"w_click": 0.14}
    assert policy.weights_for(surface="home") == {"w_click": 0.5}
    searched = 0.14 + 300 / (300 + 100) * (0.34 - 0.14)
    assert policy.weights_for(surface="search")["w_click"] == pytest.approx(searched)
    assert policy.weights_for(surface="search", segment="new")["w_click"] == pytest.approx(searched / 2)


def test_another_currency_keeps_the_ranking() -> None:
    riyal, dollar = default_policy(), default_policy(currency="USD")
    assert parse_policy(to_toml(dollar)) == dollar
    rng = np.random.default_rng(0)
    columns = {name: rng.random(50) for name in riyal.inputs}
    in_riyals = evaluate(riyal, columns)
    in_dollars = evaluate(dollar, columns | {"gmv": columns["gmv"] * 0.267})
    np.testing.assert_allclose(in_dollars, in_riyals * 0.267)


def test_a_currency_without_a_rate_is_refused_with_the_fix() -> None:
    with pytest.raises(ValueError, match="in_currency"):
        default_policy(currency="JPY")


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("w_click * ctr", "w_click * crt", 9, "unknown name crt. Fix: Did you mean cart or cvr?"),
        ("w_click * ctr", "w_click * ctr + ctr", 9, "ctr is in click / impression and stands beside (w_click * ctr)"),
        ('unit = "SAR / click"', 'unit = "AED / click"', 9, "AED / impression"),
        ('unit = "SAR / click"', 'unit = "SAR // click"', 12, "is not a unit"),
        ("value = 0.14", "value = 1.4", 12, "lies outside [0, 1]"),
        ("value = 0.14", 'value = "a"', 12, "weights.w_click.value is 'a'"),
        ("low = 0\n", "low = -1\n", 12, "allow the sign against +"),
        ("low = 0\n", "", 11, "weights.w_click.low is missing"),
        ('sign = "+"', 'sign = "up"', 16, 'Write sign = "+", "-" or "any"'),
        ('owner = "o"\n', "", 0, "owner is missing"),
        ('currency = "SAR"', 'currency = "riyal"', 4, "ISO 4217"),
        ("prior = 100", "prior = 0", 0, "prior is 0"),
        ("prior = 100", "prio = 100", 6, "unknown field 'prio'"),
        ("[expressions]", "[expressions", 8, "not TOML"),
        ("home = 0.5", "home = 5", 12, "override home 5 lies outside"),
        ("evidence = 300", "evidence = -1", 12, "Count requests"),
        ('value = "w_click * ctr + gmv"', "value = 3", 9, "value is 3"),
        ('value = "w_click * ctr + gmv"', 'worth = "w_click * ctr + gmv"', 0, "the result 'value' is not among"),
        ('unit = "SAR / impression"', 'unit = "SAR / click"', 9, "and the policy says SAR / click"),
    ],
)
def test_a_mistake_is_named_with_line_and_fix(old: str, new: str, line: int, reason: str) -> None:
    message = broken(old, new)
    assert message.startswith(f"p.toml:{line}: error: " if line else "p.toml: error: ")
    assert reason in message
    assert "Fix: " in message


def test_every_mistake_is_reported_at_once() -> None:
    message = broken('unit = "SAR / click"\nlow = 0\n', "")
    assert "weights.w_click.unit is missing" in message
    assert "weights.w_click.low is missing" in message


def test_a_file_that_is_not_utf8_is_refused_by_line(tmp_path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(SMALL.encode() + b"# caf\xe9\n")
    with pytest.raises(PolicyError, match=r"p\.toml:\d+: error: the file is not UTF-8"):
        load_policy(path)


@given(st.text(alphabet="[]{}=\"'.#\n abwv_1e-", max_size=80) | st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_no_text_raises_anything_but_a_policy_error(text: str) -> None:
    for content in (text, SMALL + text, SMALL.replace('"w_click * ctr + gmv"', text)):
        try:
            parse_policy(content)
        except PolicyError:
            continue


def test_what_stands_for_the_unknown_lies_in_the_quantitys_range() -> None:
    declared = SMALL.replace("ctr + gmv", "ctr + gmv + 0 * w_click * age * ctr") + (
        '[quantities.age]\nunit = "1"\nlow = 0\nhigh = 9\nmissing = '
    )
    assert parse_policy(declared + "9").stand_ins == {"age": 9.0}
    with pytest.raises(PolicyError, match=r"age: missing 10 lies outside \[0, 9\]"):
        parse_policy(declared + "10")
