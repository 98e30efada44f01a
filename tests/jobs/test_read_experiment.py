"""An experiment is planned and read from a log: what was planted is found, what is spoilt is not read."""

import json
import zlib
from dataclasses import replace
from datetime import timedelta
from functools import cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner

from evaluation.experiments.conclusion import NextMove, conclusions
from evaluation.experiments.effects import Missing
from evaluation.experiments.experiment_file import parse_experiment
from evaluation.experiments.guardrail_reading import GuardrailState
from evaluation.experiments.plan import detectable_after, plan_experiment
from evaluation.experiments.reading import BEST_AT, course, expected_units, read_experiment
from evaluation.experiments.sequences import half_width
from evaluation.experiments.trust import TrustCheck, TrustLevel
from evaluation.experiments.unit_table import request_columns
from jobs import read_two_sides
from jobs.cli import cli
from jobs.example_experiment import FILE, experiment_log
from jobs.experiment_sections import reading_sections
from jobs.load_log import load
from marketplace.attribution import attribute
from marketplace.simulator import SimulatorConfig
from marketplace.slate import table_to_slates
from marketplace.sqlite_log import SqliteLog

SIZE = replace(SimulatorConfig.small(), requests=2_500, users=500)


@cache
def world(lift=1.0):
    experiment = parse_experiment(FILE.replace("at_least = -0.5", "at_least = -0.95"))
    slates, feedback = experiment_log(experiment, SIZE, seed=7, click_lift=lift)
    return experiment, slates, feedback, attribute(slates, feedback)


@cache
def reading(lift=1.0):
    experiment, _, _, joined = world(lift)
    return read_experiment(joined, experiment, as_of=experiment.end)


def test_a_planted_effect_is_found_and_the_page_says_what_to_do():
    found = reading()
    experiment, _, _, joined = world()
    primary = found.primary("clear")
    assert primary.relative.low > 0
    assert primary.p_value < 0.05
    assert primary.belief.better > 0.99
    assert all(check.level is TrustLevel.GOOD for check in found.trust)
    (answer,) = conclusions(found)
    assert answer.move in (NextMove.SHIP, NextMove.NOT_PROVEN)  # the latter where a guardrail is still open
    curves = course(joined, experiment, as_of=experiment.end, points=3)
    assert curves["clear"].y[-1] == pytest.approx(primary.relative.value)


def test_the_conclusion_goes_by_trust_guardrails_look_and_effect():
    found = reading()
    alarm = TrustCheck("sample ratio", TrustLevel.BROKEN, "Units were lost.")
    held = [replace(rail, state=GuardrailState.SAFE) for rail in found.guardrails]
    rail = replace(held[0], state=GuardrailState.HARMED)
    up = found.primary("clear").relative

    def move(*, trust=(), rails=held, look=found.look, relative=up):
        metrics = [replace(one, relative=relative) for one in found.metrics]
        changed = replace(found, trust=tuple(trust), guardrails=tuple(rails), look=look, metrics=tuple(metrics))
        (answer,) = conclusions(changed)
        return answer.move

    early = replace(found.look, elapsed=0.3)
    fixed = replace(early, rule=type(early.rule).FIXED_HORIZON)
    assert move(trust=[alarm], rails=[rail]) is NextMove.MEND
    assert move(rails=[rail]) is NextMove.STOP
    assert move() is NextMove.SHIP
    assert move(look=fixed) is NextMove.GO_ON
    assert move(rails=[replace(rail, state=GuardrailState.OPEN)], look=early) is NextMove.GO_ON
    assert move(relative=replace(up, value=-0.2, low=-0.3, high=-0.1)) is NextMove.DROP
    assert move(relative=replace(up, value=0.0, low=-0.01, high=0.01)) is NextMove.DROP
    assert move(relative=replace(up, value=0.1, low=-0.3, high=0.5)) is NextMove.NOT_PROVEN
    assert move(relative=Missing("no clicks in an arm"), look=early) is NextMove.GO_ON


def test_looks_follow_the_stop_rule():
    experiment, _, _, joined = world()
    widths, levels, read = {}, {}, {}
    for rule in ("fixed_horizon", "group_sequential", "always_valid", "mixture"):
        text = FILE + f'\n[stop]\nrule = "{rule}"\nlooks = 4\n'
        one = read_experiment(joined, parse_experiment(text), as_of=experiment.end)
        read[rule], relative = one, one.primary("clear").relative
        widths[rule], levels[rule] = relative.high - relative.low, one.look.fractions
    assert widths["fixed_horizon"] < widths["group_sequential"] < widths["always_valid"]
    assert levels == {
        "fixed_horizon": (1.0,),
        "group_sequential": (0.25, 0.5, 0.75, 1.0),
        "always_valid": (),
        "mixture": (),
    }
    assert widths["group_sequential"] < widths["mixture"]
    for rule, other, way in (
        ("always_valid", "mixture", "by the mixture test"),
        ("mixture", "always_valid", "by the confidence sequence"),
    ):
        assert read[rule].sensitivity["clear"][way] == read[other].primary("clear").relative
    mixed, least = read["mixture"].primary("clear"), experiment.metrics.minimum_effect
    one, best_at = read["always_valid"].primary("clear"), read["mixture"].look.best_at
    for estimate, scale, other in (
        (mixed.relative, 1.0, one.relative),
        (mixed.difference, mixed.control.value, one.difference),
    ):
        half, spread = estimate.high - estimate.value, least * scale
        error = (other.high - other.value) / half_width(1.0, other.n, best_at=best_at)
        evidence = np.sqrt(1 / (1 + (spread / error) ** 2)) * np.exp(
            half**2 / 2 / error**2 / (1 + (error / spread) ** 2)
        )
        assert evidence == pytest.approx(20)
    assert (mixed.p_value < 0.05) == (mixed.difference.low > 0)
    p = sorted(one.p_value for one in read["fixed_horizon"].metrics)
    steps = [value * (len(p) - rank) for rank, value in enumerate(p)]
    assert sorted(one.adjusted for one in read["fixed_horizon"].metrics) == pytest.approx(
        [min(max(steps[: rank + 1]), 1.0) for rank in range(len(p))]
    )


def test_windows_of_a_city_are_read_with_their_carry_over():
    """Each day of a city is a unit; the log's own variants by shopper stand for it, so that only the form is read."""
    experiment, _, _, joined = world()
    text = FILE.replace("days = 28", 'days = 28\nunit = "city_time"')
    one = read_experiment(joined, parse_experiment(text), as_of=experiment.end)
    assert sum(one.units.values()) > 150
    assert np.isfinite(one.switchback["clear"].carried.error)
    (section,) = [part for part in reading_sections(one, currency="SAR") if "carry over" in part.title]
    assert section.rows[0][0] == "clear"
    assert not reading().switchback


@pytest.mark.parametrize("slates_of", [0, 3, 80])
def test_the_first_minutes_of_three_variants_are_missing_with_reasons(slates_of):
    """The third variant has no unit yet: the watcher reads it all the same."""
    third = '[[variants]]\nname = "b"\nshare = 0.2\npolicy = "b.toml"\n\n[metrics]'
    three = parse_experiment(FILE.replace('"clear"\nshare = 0.5', '"clear"\nshare = 0.3').replace("[metrics]", third))
    experiment, slates, feedback, _ = world()
    begun = next(at for at, time in enumerate(slates["time"].to_pylist()) if time >= experiment.start)
    joined = attribute(slates.slice(begun, slates_of), feedback)
    early = read_experiment(joined, three, as_of=three.start)
    assert early.units["b"] == 0
    assert str(early.primary("b").relative) == "missing: fewer than 2 units in an arm"
    assert all(one.state is GuardrailState.OPEN for one in early.guardrails if one.variant == "b")
    assert conclusions(early)[1].move is NextMove.GO_ON
    assert reading_sections(early, currency="SAR")


def test_a_stopped_variant_is_read_until_its_stop_and_the_others_go_on():
    """From the stop on its units leave no slate: were the control's later ones counted, it would seem to lose."""
    third = '[[variants]]\nname = "b"\nshare = 0.2\npolicy = "b.toml"\n\n[metrics]'
    three = parse_experiment(FILE.replace('"clear"\nshare = 0.5', '"clear"\nshare = 0.3').replace("[metrics]", third))
    stop = three.start + timedelta(days=9)
    slates, feedback = experiment_log(three, SIZE, seed=7)
    later = np.array([time >= stop for time in slates["time"].to_pylist()])
    stopped = later & np.array([variant == "b" for variant in slates["variant"].to_pylist()])
    joined = attribute(slates.filter(pa.array(~stopped)), feedback)
    one = read_experiment(joined, three, as_of=three.end, stops={"b": stop})
    until = read_experiment(attribute(slates.filter(pa.array(~later)), feedback), three, as_of=stop)
    clicks = [m for m in one.metrics if m.metric.name == "clicks_per_user"]
    before = [m for m in until.metrics if m.metric.name == "clicks_per_user"]
    assert clicks[1].difference.value == pytest.approx(before[1].difference.value)
    assert clicks[0].difference.n > clicks[1].difference.n
    assert [answer.move is NextMove.STOPPED for answer in conclusions(one)] == [False, True]
    forgotten = read_experiment(joined, three, as_of=three.end)
    ratio = {
        name: next(c for c in reading.trust if c.name == "sample ratio")
        for name, reading in {"known": one, "forgotten": forgotten}.items()
    }
    assert ratio["known"].level is TrustLevel.GOOD
    assert ratio["forgotten"].p_value < 0.2 < ratio["known"].p_value
    assert course(joined, three, as_of=three.end, points=4, stops={"b": stop})["b"].x.max() < 10


def test_a_harmful_variant_breaks_its_guardrail():
    text = FILE.replace('metric = "cvr"\nat_least = -0.3', 'metric = "ctr"\nat_least = -0.1')
    experiment = parse_experiment(text)
    _, _, _, joined = world(-1.5)
    (answer,) = conclusions(read_experiment(joined, experiment, as_of=experiment.end))
    assert answer.move is NextMove.STOP
    assert "ctr >= -10.0%" in answer.reason


def test_a_plan_says_what_can_be_found():
    experiment, _, _, joined = world(0.0)
    plan = plan_experiment(joined, experiment)
    found = [length.detectable for length in plan.lengths]
    assert found[0] > found[-1] > 0
    assert plan.lengths[-1].units <= 500
    inside = plan.lengths[3]
    assert detectable_after(plan.lengths, inside.days) == pytest.approx(inside.detectable)
    assert detectable_after(plan.lengths, 84) < found[-1]
    assert np.nanmean(plan.weekdays) == pytest.approx(1.0, abs=0.02)
    longer = replace(experiment, metrics=replace(experiment.metrics, minimum_effect=2.0))
    assert plan_experiment(joined, longer).enough
    assert not plan.enough
    later = replace(experiment, start=experiment.start.replace(year=2024))
    assert expected_units(joined, later) == BEST_AT


def test_one_day_does_not_tell_what_four_weeks_find():
    experiment, slates, feedback, _ = world()
    first = slates["time"][0].as_py().date()
    day = attribute(slates.filter(pa.array([time.date() == first for time in slates["time"].to_pylist()])), feedback)
    with pytest.raises(ValueError, match="holds one day, which does not tell who comes again"):
        plan_experiment(day, replace(experiment, metrics=replace(experiment.metrics, primary="ctr")))


def test_the_commands_read_a_log_and_refuse_one_without_the_experiment(tmp_path, clickhouse_address):
    _, slates, feedback, _ = world()
    log = SqliteLog(tmp_path / "log.sqlite")
    for slate in table_to_slates(slates.slice(0, 350)):
        log.append(slate)
    log.append_feedback(feedback.slice(0, 3500))
    log.close()
    file, source = tmp_path / "clear.toml", str(tmp_path / "log.sqlite")
    file.write_text(FILE)
    planned = CliRunner().invoke(cli, ["experiment", "plan", source, str(file)])
    assert planned.exit_code == 1, planned.output
    assert "Too short or too small" in planned.output
    figures = tmp_path / "figures.json"
    none = CliRunner().invoke(cli, ["experiment", "read", source, str(file), "--json", str(figures)])
    assert isinstance(none.exception, ValueError)
    assert "holds no slate of the experiment 'clearer_pictures'" in str(none.exception)
    log = SqliteLog(tmp_path / "log.sqlite")
    for slate in table_to_slates(slates.slice(len(slates) - 250)):
        log.append(slate)
    log.append_feedback(feedback.slice(len(feedback) - 3500))
    log.close()
    result = CliRunner().invoke(cli, ["experiment", "read", source, str(file), "--json", str(figures)])
    assert result.exit_code == 0, result.output
    answer = json.loads(figures.read_text())
    assert sum(answer["units"].values()) > 50
    assert answer["metrics"][0]["relative"]["n"] > 50
    page = (tmp_path / "clearer_pictures.html").read_text()
    address = f"{clickhouse_address}?database=experiment&run={tmp_path}"
    load(tmp_path / "log.sqlite", address)
    result = CliRunner().invoke(cli, ["experiment", "read", address, str(file), "--json", str(figures)])
    assert result.exit_code == 0, result.output
    assert json.loads(figures.read_text()) == answer
    assert (tmp_path / "clearer_pictures.html").stat().st_size > len(page) / 2
    for text in ("Shoppers who see", "Can it be trusted?", "SAR per user", "data:image"):
        assert text in page


def test_amounts_of_two_currencies_are_missing_and_the_rest_is_read():
    experiment, slates, feedback, _ = world()
    at = slates.schema.get_field_index("currency")
    mixed = pa.array(["SAR", "AED"] * len(slates))[: len(slates)].cast(slates.schema.field(at).type)
    joined = attribute(slates.set_column(at, slates.schema.field(at), mixed), feedback)
    one = read_experiment(joined, experiment, as_of=experiment.end)
    relative = {metric.metric.name: str(metric.relative) for metric in one.metrics}
    assert relative["gmv_per_user"] == "missing: the log does not record gmv in one currency"
    assert "missing" not in relative["ctr"]
    (open_rail,) = [rail for rail in one.guardrails if rail.guardrail.metric == "net_gmv_per_user"]
    assert open_rail.state is GuardrailState.OPEN


def test_two_experiments_are_read_as_two_sides(tmp_path, monkeypatch):
    """Merchants are drawn by hand into a second experiment of the same log; pandas has the means of the cells."""
    _, _, _, joined = world()
    second = FILE.replace('name = "clearer_pictures"', 'name = "badges"\nunit = "merchant"')
    files = tmp_path / "clear.toml", tmp_path / "badges.toml"
    for file, text in zip(files, (FILE, second), strict=True):
        file.write_text(text)
    pages = joined.slates["page_merchant_id"].to_pylist()
    treated = {page: zlib.crc32(page.encode()) % 2 for page in set(pages) - {None}}
    arms = [
        f"{variant};{('in_force', 'clear')[treated[page]]}" if variant and page else variant
        for variant, page in zip(joined.slates["variant"].to_pylist(), pages, strict=True)
    ]
    names = ["clearer_pictures;badges" if arm and ";" in arm else arm and "clearer_pictures" for arm in arms]
    slates = joined.slates
    for column, values in (("experiment", names), ("variant", arms)):
        at = slates.schema.get_field_index(column)
        field = slates.schema.field(at)
        slates = slates.set_column(at, field, pa.array(values, pa.string()).cast(field.type))
    both = replace(joined, slates=slates)
    monkeypatch.setattr(read_two_sides, "joined_log", lambda source: both)
    result = CliRunner().invoke(cli, ["experiment", "read-two-sides", str(tmp_path), *map(str, files)])
    assert result.exit_code == 0, result.output
    requests = pd.DataFrame(request_columns(both)).assign(arm=arms)[[arm is not None and ";" in arm for arm in arms]]
    rate = requests.groupby("arm").clicks.sum() / requests.groupby("arm").impressions.sum()
    assert f"{rate['clear;clear'] - rate['in_force;in_force']:.4g} [" in result.output
    swapped = CliRunner().invoke(cli, ["experiment", "read-two-sides", str(tmp_path), *map(str, files[::-1])])
    assert "unit merchant and 1 treatments" in str(swapped.exception)
