"""Figures in the pages are those of the result files."""

import re

import pytest

from benchmarks.pages import pages, table_pages, with_blocks
from benchmarks.record import RESULTS, Measure


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_pages_say_what_their_sources_say(page):
    text = page.read_text()
    assert with_blocks(text) == text, "run `make docs`"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_row_of_a_table_has_the_cells_of_its_head(page):
    """A bar within a cell is escaped; an unescaped one would shift what stands right of it."""
    for rows in re.findall(r"(?:^\|.*\n)+", page.read_text(), re.M):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows.splitlines()}) == 1, rows


def test_a_bar_is_met_or_not():
    assert Measure("auc", 0.8, "", ">= 0.8").met is True
    assert Measure("auc", 0.7, "", ">= 0.8").met is False
    assert Measure("ratio", 0.94, "", "0.95-1.05").met is False
    assert Measure("ratio", 1.0, "", "0.95-1.05").met is True
    assert Measure("seconds", 3.0, "s").met is None


def test_every_result_has_its_table_on_a_page():
    assert sorted(table_pages()) == sorted(path.stem for path in RESULTS.glob("*.json"))
