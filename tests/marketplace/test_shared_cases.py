"""Small shops that differ from a clean one in one thing: what the check says of each."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from jobs.check import run_check
from jobs.config import RunConfig
from jobs.data import data_root
from jobs.defaults import policy_of
from jobs.recommend import recommend
from jobs.run import run_all
from marketplace.attribution import attribute
from marketplace.check import DataCheck
from marketplace.datasets.own import load_own
from marketplace.finding import DataError, FieldError, errors
from retrieval.config import RetrievalConfig
from value_model.rankers.config import TrainingConfig

pytestmark = pytest.mark.filterwarnings("error")  # of NumPy as of anything else
CASES = data_root().parent / "cases"
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def case():
    """The check of a case, by its name."""
    if not CASES.exists():
        pytest.skip(f"{CASES} does not exist")

    def checked(name: str) -> DataCheck:
        return run_check(Path(CASES / name / "mapping.toml"), now=NOW)

    return checked


def labels(check: DataCheck) -> dict[str, int]:
    """How often each label is true."""
    joined = attribute(check.dataset.slates, check.dataset.feedback)
    return {name: int(np.sum(joined.labels[name].to_numpy())) for name in ("click", "order")}


def test_the_clean_shop_loses_no_event(case):
    check = case("clean")
    assert not errors(check.findings)
    assert check.joined.counts.without_use == {"without_request": 1}
    assert labels(check) == {"click": 97, "order": 40}
    assert any("joined to what was shown: 137 events (99.3%)" in line for line in check.lines())


def test_events_without_requests_join_their_shoppers_lists(case):
    check = case("events_without_request")
    assert not errors(check.findings)
    assert labels(check) == labels(case("clean"))
    assert any("137 of 138 were joined to their shopper's latest list" in note for note in check.lines())


def test_likely_repeats_are_counted_once(case):
    check = case("dup_events_no_id")
    (finding,) = [finding for finding in check.findings if finding.rule == "repeats"]
    assert finding.reason.startswith("3 of 141 events (2.1%)")
    assert len(check.dataset.feedback) == len(case("clean").dataset.feedback)
    assert labels(check) == labels(case("clean"))


def test_positions_from_0_are_an_error_with_the_fix(case):
    (finding,) = errors(case("pos0").findings)
    assert "in 120 of 120 requests one item stands at 0" in finding.reason
    assert "first_position = 0" in finding.fix


def test_unknown_ids_are_an_error_by_their_share(case):
    found = errors(case("float_ids").findings)
    assert found
    assert all(finding.share == 1 for finding in found)


def test_a_search_without_query_is_named(case):
    assert any(
        "is the query of a list on search (120 rows, 100.00%)" in f.reason
        for f in case("surface_search_no_query").findings
    )


def test_few_orders_are_named_before_training(case):
    assert any("24 orders are few" in finding.reason for finding in case("few_orders").findings)


@pytest.mark.parametrize("name", ["epoch_ms", "epoch_s_format", "egp"])
def test_other_times_and_currencies_join_as_the_clean_shops(case, name):
    check = case(name)
    assert not [finding for finding in errors(check.findings) if finding.rule != "currency"]
    assert labels(check) == labels(case("clean"))
    first = check.dataset.slates["time"][0]
    assert first == case("clean").dataset.slates["time"][0]


def test_a_policy_in_another_currency_needs_a_rate_before_anything_is_trained(case, tmp_path):
    (finding,) = errors(case("egp").findings)
    assert "`SAR = 13.2` where 1 SAR = 13.2 EGP" in finding.fix
    with pytest.raises(DataError, match=r"under \[currencies\]"):
        run_all(RunConfig(data=str(CASES / "egp" / "mapping.toml")), tmp_path)


def egp_with_rate(folder: Path) -> Path:
    """The shop in EGP whose mapping says what a riyal is worth: its path."""
    shutil.copytree(CASES / "egp", folder, dirs_exist_ok=True)
    with (folder / "mapping.toml").open("a", encoding="utf-8") as mapping:
        mapping.write("\n[currencies]\nSAR = 13.2\n")
    return folder / "mapping.toml"


def test_with_a_rate_the_shipped_policy_is_converted(case, tmp_path):
    case("egp")
    check = run_check(egp_with_rate(tmp_path), now=NOW)
    assert not errors(check.findings)
    shipped, policy = (policy_of(data, RunConfig()) for data in (case("clean").dataset, check.dataset))
    assert policy.currency == "EGP"
    assert policy.weight["w_click"].value == pytest.approx(13.2 * shipped.weight["w_click"].value)  # money a click
    assert policy.weight["w_gmv"].value == shipped.weight["w_gmv"].value  # a share of money
    with pytest.raises(FieldError, match="rate"):
        policy_of(replace(check.dataset, currency="JPY", currency_rates={}), RunConfig())


@pytest.mark.slow
@pytest.mark.filterwarnings("default", "error::RuntimeWarning")
def test_a_shop_in_another_currency_runs_to_a_served_slate(case, tmp_path, capsys):
    case("egp")
    config = RunConfig(
        data=str(egp_with_rate(tmp_path)),
        retrieval=RetrievalConfig(index="exact", epochs=3),
        training=TrainingConfig(epochs=3),
    )
    run_all(config, tmp_path / "run")
    capsys.readouterr()
    recommend(tmp_path / "run", user=None, surface="home", k=5)
    shown = capsys.readouterr().out
    assert "5 of " in shown
    assert "EGP" in shown


def test_every_case_can_be_checked(case):
    for folder in sorted(path for path in CASES.iterdir() if path.is_dir()):
        dataset, _ = load_own(folder / "mapping.toml", now=NOW)
        assert dataset is not None or errors(case(folder.name).findings)
