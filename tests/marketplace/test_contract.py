"""The log contract's page has every field of the schemas, and no other."""

import re
from pathlib import Path

import pytest

from marketplace.contract import SECTIONS, contract_page
from marketplace.schema import FEEDBACK, ITEMS, MERCHANTS, SCHEMA_VERSION, SLATE, USERS

PAGE = (Path(__file__).parents[2] / "docs" / "log_contract.md").read_text("utf-8")


def test_the_page_is_the_one_that_the_schemas_give():
    assert contract_page() == PAGE, "run: python -m marketplace.contract > docs/log_contract.md"


@pytest.mark.parametrize(
    ("titles", "schema"),
    [
        (("Slate: the request", "Slate: its items"), SLATE),
        (("Feedback",), FEEDBACK),
        (("Items",), ITEMS),
        (("Merchants",), MERCHANTS),
        (("Users",), USERS),
    ],
)
def test_every_field_is_on_the_page_and_no_other(titles, schema):
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S))
    documented = [name for title in titles for name in re.findall(r"^\| `(\w+)` \|", sections[title], flags=re.M)]
    assert documented == schema.names
    for field in schema:
        assert field.metadata[b"meaning"].decode() in PAGE.replace("\\|", "|")


def test_the_page_names_its_version_and_all_sections():
    assert f"Version {SCHEMA_VERSION}." in PAGE
    assert all(f"## {title}\n" in PAGE for title, _, _ in SECTIONS)
