"""Experiment files: the page's example is read as it is explained, and mistakes are named with their line."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from evaluation.experiments.experiment_file import AssignmentUnit, StopRule, TrafficLayer, parse_experiment
from marketplace.finding import DataError

PAGE = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text("utf-8")
EXAMPLE = re.search(r"```toml\n(.*?)```", PAGE, re.S)[1]


def test_the_example_says_what_its_comments_say():
    experiment = parse_experiment(EXAMPLE)
    assert (experiment.unit, experiment.stop.rule) == (AssignmentUnit.USER, StopRule.ALWAYS_VALID)
    assert experiment.end - experiment.start == timedelta(days=28)
    assert [variant.name for variant in experiment.treatments] == ["clicks_up"]
    assert [experiment.exposure(step) for step in range(5)] == pytest.approx([0.02, 0.1, 0.2, 0.5, 1.0])
    assert str(experiment.guardrails[0]) == "net_gmv_per_user >= -2.0%"
    assert parse_experiment(EXAMPLE.replace("days = 28", "days = 27")).version != experiment.version
    assert parse_experiment(f"# a comment\n{EXAMPLE}").version == experiment.version


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('"orders_per_user"', '"order_per_user"', r"metrics names 'order_per_user'.*Did you mean 'orders_per_user'"),
        ('control = "in_force"', 'control = "in_forse"', "'in_forse', no variant.*'in_force'"),
        ("share = 0.5\npolicy", "share = 0.6\npolicy", "shares sum to 1.1"),
        ("at_least = -0.02 ", "", "neither of at_least and at_most"),
        ("0.25, 0.5]", "0.25, 0.6]", "a ramp to 0.6.*0.5 at most"),
        ("0.25, 0.5]", "0.25, 0.2]", "rising shares"),
        ('unit = "user"', 'unit = "shopper"', "'shopper'.*user, session, merchant, city_time"),
        ("00:00:00Z", "00:00:00", "start is '2026-12-01 00:00:00'.*with a zone"),
        ("high = 0.5", "high = 0.0", "part 0 to 0"),
        ("holdout", "holdouts", "unknown field 'holdouts'.*'holdout'"),
        ('["home", "search"]', '["hom"]', "surfaces.1 is 'hom'.*home, search"),
        ('name = "in_force"', 'name = "In force"', "variants.1.name is 'In force'.*small letters"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_to_write(before, after, complaint):
    assert EXAMPLE.count(before) >= 1
    with pytest.raises(DataError, match=complaint) as error:
        parse_experiment(EXAMPLE.replace(before, after, 1), file="mine.toml")
    assert re.match(r"mine\.toml:\d+: error", str(error.value))


def test_parts_of_one_layer_exclude_each_other():
    lower, upper = TrafficLayer(high=0.5), TrafficLayer(low=0.5)
    assert not lower.shares_units(upper)
    assert lower.shares_units(TrafficLayer(low=0.4))
    assert not lower.shares_units(TrafficLayer("colours"))
