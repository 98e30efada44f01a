"""Constraints: in a policy file, as one line of text, and their part in the version and the currency."""

from dataclasses import replace

import pytest

from value_model.formula import (
    BoundKind,
    Constraint,
    PolicyError,
    default_policy,
    in_currency,
    parse_constraint,
    parse_policy,
    shipped_policies,
    shipped_policy,
    to_toml,
)
from value_model.formula.metrics import NAMES

PLAIN = to_toml(replace(default_policy(), constraints=()))
HELD = """
[[constraints]]
metric = "ctr"
at_least = -0.01
of = "relative"
owner = "growth \\"team\\""
reason = "Clicks keep shoppers."

[[constraints]]
metric = "gmv"
at_most = 5
of = "change"
confidence = 0.9
reason = "No more than stock lasts."
"""
LINE = PLAIN.count("\n") + 2  # of the first header


def test_the_section_is_read_with_owners_and_survives_the_round_trip():
    policy = parse_policy(PLAIN + HELD)
    ctr, gmv = policy.constraints
    assert ctr == Constraint(
        "ctr", at_least=-0.01, of=BoundKind.RELATIVE, owner='growth "team"', reason="Clicks keep shoppers."
    )
    assert (gmv.side, gmv.bound, gmv.of, gmv.confidence, gmv.owner) == (
        "at_most",
        5,
        BoundKind.CHANGE,
        0.9,
        policy.owner,
    )
    assert (ctr.where.line, gmv.where.line) == (LINE + 1, LINE + 8)
    assert parse_policy(to_toml(policy)) == policy
    assert parse_policy(to_toml(policy)).version == policy.version


def test_a_version_depends_on_constraints_only_where_there_are_some():
    # The hash of a policy without constraints is what it was before files could hold any.
    assert replace(shipped_policy("two_sided")).version == "bb91ad204767"
    plain, held = parse_policy(PLAIN), parse_policy(PLAIN + HELD)
    assert len({plain.version, held.version, parse_policy(PLAIN + HELD.replace("-0.01", "-0.02")).version}) == 3
    assert replace(held, constraints=held.constraints[::-1]).version == held.version


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ('"ctr"', '"crt"', 1, "there is no metric 'crt' to constrain. Fix: Did you mean cart or cvr?"),
        ('"ctr"', '"profit"', 1, f"Metrics are {', '.join(NAMES)}"),
        ("at_least = -0.01\n", "", 0, "constraints.1 has neither of at_least and at_most"),
        ("at_most = 5\n", "at_most = 5\nat_least = 1\n", 7, "constraints.2 has at_least and at_most"),
        ("at_most = 5\n", 'at_most = "5"\n', 9, "constraints.2.at_most is '5'"),
        ('"change"', '"sum"', 10, "of is 'sum'. Fix: Write one of level, change, relative"),
        ("0.9", "1", 11, "confidence is 1. Fix: Write 0.5 to below 1"),
        ('reason = "No', 'because = "No', 7, "constraints.2.reason is missing"),
        ('"gmv"\nat_most = 5\nof = "change"', '"ctr"\nat_least = 5\nof = "relative"', 8, "bounded twice"),
    ],
)
def test_a_mistake_is_named_with_line_and_fix(old, new, line, reason):
    assert old in HELD
    with pytest.raises(PolicyError) as caught:
        parse_policy(PLAIN + HELD.replace(old, new), file="p.toml")
    message = str(caught.value)
    assert reason in message
    assert f"p.toml:{LINE + line}: error: " in message


def test_a_table_is_no_list_of_constraints():
    with pytest.raises(PolicyError, match=r"Write \[\[constraints\]\], once for each"):
        parse_policy(PLAIN + "\n[constraints]\nctr = -0.01\n")


def test_changes_of_money_follow_the_currency_and_shares_do_not():
    ctr, gmv = in_currency(parse_policy(PLAIN + HELD), "USD", rate=0.25).constraints
    assert (ctr.bound, gmv.bound) == (-0.01, 1.25)


def test_shipped_policies_constrain_what_their_data_can_tell():
    metrics = {name: {c.metric for c in shipped_policy(name).constraints} for name in shipped_policies()}
    assert metrics["default"] == {"ctr", "orders", "gmv", "newcomer_exposure", "merchant_quality"}
    assert metrics["purchases"] == metrics["default"] - {"ctr"}
    assert default_policy(currency="USD").constraints == default_policy().constraints


@pytest.mark.parametrize(
    ("text", "constraint"),
    [
        ("ctr >= -1%", Constraint("ctr", at_least=-0.01, of=BoundKind.RELATIVE)),
        ("  gmv>=+2.5%  at 90% ", Constraint("gmv", at_least=0.025, of=BoundKind.RELATIVE, confidence=0.9)),
        ("orders >= 0%", Constraint("orders", at_least=0.0, of=BoundKind.RELATIVE)),
        ("newcomer_exposure >= 0.08", Constraint("newcomer_exposure", at_least=0.08)),
        ("gmv >= -5 change", Constraint("gmv", at_least=-5.0, of=BoundKind.CHANGE)),
        ("cvr <= 2e-3 at 99.5%", Constraint("cvr", at_most=0.002, confidence=0.995)),
    ],
)
def test_a_line_of_text_is_a_constraint(text, constraint):
    assert parse_constraint(text) == constraint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ctr > -1%", "cannot be read"),
        ("ctr >= ", "cannot be read"),
        ("ctr >= -1% relative", "cannot be read"),
        ("ctr >= 1,5%", "cannot be read"),
        ("crt >= -1%", "Did you mean cart or cvr"),
        ("ctr >= -1% at 100%", "confidence is 1.0"),
        ("newcomer_exposure >= 8%", r"newcomer_exposure >= \+8% for that, or newcomer_exposure >= 0.08 for a level"),
        ("gmv >= -5% change", "a percentage is a relative change"),
    ],
)
def test_a_line_that_is_unclear_is_refused_with_what_to_write(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_constraint(text)
