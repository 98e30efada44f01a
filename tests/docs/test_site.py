"""The documentation as a site: whole by mkdocs' strict build, and every command in it is one of the program."""

import re
import shlex
from pathlib import Path

import click
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from program import parsed

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHOWN = re.compile(r"^ {4,}(?:\.venv/bin/|\w+=\S+ )?value-model +([a-z].*?)(?: {2,}\S.*)?$", re.M)
QUOTED = re.compile(r"`value-model ([a-z][^`]*)`")


def settings(folder, **changes):
    return load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), **changes)


def test_every_page_has_its_place_and_every_link_and_anchor_leads_somewhere(tmp_path):
    """Without the pages of the reference, whose docstrings take long."""
    build(settings(tmp_path, plugins=[], theme={"name": "mkdocs"}, markdown_extensions=["tables"]))
    assert (tmp_path / "tutorials" / "night_engineer.html").exists()


@pytest.mark.slow
def test_the_whole_site_with_its_reference(tmp_path):
    build(settings(tmp_path))
    page = (tmp_path / "reference" / "serving.html").read_text()
    assert 'id="serving.engine.RankingEngine.rank"' in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_one_of_the_program(page):
    text = re.sub(r"\\\n\s*", " ", page.read_text("utf-8"))
    wrong = {}
    for line in [*SHOWN.findall(text), *QUOTED.findall(text)]:
        try:
            parsed(shlex.split(re.split(" #| > | [|] ", line)[0]))
        except click.MissingParameter:
            assert line in QUOTED.findall(text)  # a command that is only spoken of
        except (click.ClickException, KeyError) as error:
            wrong[line] = str(error)
    assert wrong == {}
