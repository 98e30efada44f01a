"""A policy that reads what the data cannot teach is refused before anything is trained."""

from datetime import UTC, datetime

import pytest
from made_shop import shop_rows, write_shop

from jobs.admission import Applicant
from jobs.config import RunConfig
from marketplace.check import joined_events
from marketplace.datasets.own import read_own

NOW = datetime(2026, 6, 1, tzinfo=UTC)
POLICY = """
name = "odd"
owner = "test"
reason = "reads {name}"
currency = "{currency}"
unit = "{currency} / impression"
[expressions]
value = "w * {name}"
[quantities.{name}]
unit = "1 / impression"
low = 0.0
high = 1.0
[weights.w]
value = 1.0
unit = "{currency}"
low = 0.0
high = 2.0
reason = "test"
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    applicant = Applicant.of(read_own(write_shop(tmp_path_factory.mktemp("shop"), shop_rows()), now=NOW))
    return applicant, joined_events(applicant.dataset)


@pytest.mark.parametrize(
    ("name", "near"), [("likes", "Known: "), ("popularty", "Did you mean 'popularity'"), ("popularity", None)]
)
def test_what_no_head_and_no_number_of_the_data_is_named_with_the_nearest(shop, tmp_path, name, near):
    applicant, joined = shop
    path = tmp_path / "policy.toml"
    path.write_text(POLICY.format(name=name, currency=applicant.dataset.currency))
    findings = [str(finding) for finding in applicant.admission(joined, RunConfig(policy=str(path)))]
    assert len(findings) == (near is not None)
    for finding in findings:
        assert f"error: the policy 'odd' reads {name}, which these data teach no head and have no number" in finding
        assert near in finding


def test_the_default_policy_leaves_absent_heads_out(shop):
    assert list(shop[0].admission(shop[1], RunConfig())) == []
