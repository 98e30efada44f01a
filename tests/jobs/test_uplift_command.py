"""The command `uplift` on a small trial that is known: what it prints, writes and refuses."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from click.testing import CliRunner

from jobs.cli import cli
from jobs.uplift.trial_file import TrialColumns, read_trial

ROWS = 3000


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A coupon that helps in the north, harms in the south, and costs 0.1; who got it was drawn, half to half."""
    rng = np.random.default_rng(0)
    north, age, coupon = rng.random(ROWS) < 0.5, rng.integers(18, 80, ROWS), rng.random(ROWS) < 0.5
    rate = 0.3 + coupon * np.where(north, 0.4, -0.2)
    columns = {
        "region": np.where(north, "north", "south"),
        "age": age,
        "group": np.where(coupon, "coupon", "none"),
        "bought": (rng.random(ROWS) < rate).astype(int),
        "half": np.full(ROWS, 0.5),
    }
    path = tmp_path_factory.mktemp("trial") / "trial.csv"
    pacsv.write_csv(pa.table(columns), path)
    return path


ASK = ["--treatment", "group", "--control", "none", "--outcome", "bought", "--features", "region,age"]


def test_the_command_finds_whom_to_treat_within_the_budget(file, tmp_path):
    """120 of money treat 1,200 of the about 1,500 in the north, each worth 0.4 less 0.1."""
    options = ["--propensity", "half", "--cost", "coupon=0.1", "--budget", "120", "--replicates", "20"]
    result = CliRunner().invoke(cli, ["uplift", str(file), *ASK, *options, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "Targeting by DR pays" in result.output
    assert "The budget ends before the gains do" in result.output
    assert "DR orders rows beyond chance" in result.output
    figures = json.loads((tmp_path / "uplift.json").read_text())
    assert set(figures["treatments"]["coupon"]) == {"S", "T", "X", "R", "DR", "by outcome"}
    targeted = figures["targeting"]["by DR"]
    assert ROWS * targeted["cost"] == pytest.approx(120, abs=0.1)
    assert targeted["gain"]["low"] <= 1200 / ROWS * (0.4 - 0.1) <= targeted["gain"]["high"]
    assert figures["price"] > 1
    table, data = pacsv.read_csv(tmp_path / "targeting.csv").to_pandas(), pacsv.read_csv(file).to_pandas()
    assert (data["region"][table["treat"] == "coupon"] == "north").mean() > 0.97
    page = (tmp_path / "uplift.html").read_text()
    assert page.count("<figure>") == 2


def test_who_was_treated_is_drawn_or_known_or_estimated(file):
    row = {"treatment": "group", "control": "none", "outcome": "bought", "features": ("region", "age")}
    drawn, codes = read_trial(file, TrialColumns(**row, randomised=True))
    assert codes == {0}
    np.testing.assert_allclose(drawn.propensity.mean(axis=0), drawn.rows_per_arm / ROWS)
    known, _ = read_trial(file, TrialColumns(**row, propensity="half", unit="age"))
    assert (known.propensity == 0.5).all()
    assert len(set(known.units.tolist())) == 62
    assert read_trial(file, TrialColumns(**row))[0].propensity is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"treatment": "arm"}, "there is no column 'arm'; it has region, age, group, bought, half"),
        ({"control": "nobody"}, "'group' holds 'coupon', 'none'; one of several must be the control, 'nobody'"),
        ({"outcome": "region", "features": ("age",)}, "'region' holds string, such as '(north|south)'; give numbers"),
        ({"features": ("age", "bought")}, r"\['bought'\] among the features; give what was known before"),
        ({"features": ()}, "name the features"),
    ],
)
def test_what_cannot_be_read_is_refused(file, columns, message):
    row = {"treatment": "group", "control": "none", "outcome": "bought", "features": ("region", "age")}
    with pytest.raises(ValueError, match=message):
        read_trial(file, TrialColumns(**row | columns))


def test_costs_and_cells_that_cannot_be_read_are_refused(file, tmp_path):
    result = CliRunner().invoke(cli, ["uplift", str(file), *ASK, "--cost", "coupon=cheap"])
    assert "--cost coupon=cheap: give a number, or NAME=NUMBER" in result.output
    with pytest.raises(ValueError, match="cost of voucher: the treatments are coupon"):
        CliRunner().invoke(cli, ["uplift", str(file), *ASK, "--cost", "voucher=1"], catch_exceptions=False)
    gap = tmp_path / "gap.csv"
    gap.write_text(file.read_text().replace("coupon", "", 1))
    with pytest.raises(ValueError, match="'group' is empty in 1 rows, the first"):
        read_trial(gap, TrialColumns("group", "none", "bought", ("age",)))
