"""Whatever becomes of a clean shop's files: checking ends with findings, and reading agrees with them."""

from contextlib import nullcontext
from datetime import UTC, datetime

import pytest
from made_shop import shop_rows, spoiled_shop, write_shop

from jobs.admission import Applicant
from jobs.check import run_check
from jobs.config import PeriodsConfig, RunConfig
from jobs.data import learnable
from marketplace.check import data_check, joined_events
from marketplace.datasets.own import read_own
from marketplace.finding import DataError, errors

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def agree(path) -> bool:
    """Whether the check passes, after reading and what a run then asks of the data have agreed with it."""
    checked = run_check(path, now=NOW)
    lines = [*checked.lines(), *map(str, checked.findings)]
    assert all("\n" not in line for line in lines), lines
    passes = not errors(checked.findings)
    with nullcontext() if passes else pytest.raises(DataError):
        applicant = Applicant.of(read_own(path, now=NOW))
        joined = joined_events(applicant.dataset)
        if refused := errors(applicant.admission(joined, RunConfig())):
            raise DataError(refused)
        learnable(applicant.dataset, joined, periods=PeriodsConfig())
    return passes


def test_the_clean_shop_passes(tmp_path):
    path = write_shop(tmp_path, shop_rows())
    assert agree(path)
    assert [finding.rule for finding in data_check(path, now=NOW).findings] == ["prospects"]  # 20 orders are few


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("part", range(6))
def test_checking_and_reading_agree_on_spoiled_shops(tmp_path, part):
    for seed in range(part * 10, part * 10 + 10):
        _agree_on(tmp_path / str(seed), seed)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_they_agree_on_a_thousand(tmp_path):
    passed = sum(_agree_on(tmp_path / str(seed), seed) for seed in range(1000))
    print(f"{passed} of 1,000 pass")
    assert 100 < passed < 900


def _agree_on(folder, seed) -> bool:
    folder.mkdir()
    path, done = spoiled_shop(folder, seed)
    try:
        return agree(path)
    except Exception as error:
        error.add_note(f"seed {seed}: {done}")
        raise
