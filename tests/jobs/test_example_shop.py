"""The page's shop, large enough to run: what the command writes is what docs/own_data.md shows, and it is served."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.check import run_check
from jobs.cli import cli
from jobs.config import RunConfig
from jobs.recommend import recommend
from jobs.run import run_all
from marketplace.finding import errors
from retrieval.config import RetrievalConfig
from value_model.rankers.config import TrainingConfig

PAGE = (Path(__file__).parents[2] / "docs" / "own_data.md").read_text("utf-8")
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def mapping(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    result = CliRunner().invoke(cli, ["example-shop", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0
    return folder / "mapping.toml"


def test_the_files_are_those_of_the_page(mapping):
    page = dict(re.findall(r"```(?:toml|csv)\n# (\S+)\n(.*?)```", PAGE, flags=re.S))
    assert {path.name for path in mapping.parent.iterdir()} == set(page)
    assert mapping.read_text("utf-8") == page.pop("mapping.toml")
    for name, text in page.items():
        header = (mapping.parent / name).read_text("utf-8").split("\n")[0]
        assert header.replace('"', "") == text.split("\n")[0]


def test_the_check_finds_nothing_to_mend(mapping):
    checked = run_check(mapping, now=NOW)
    assert checked.findings == ()
    assert checked.joined.counts.without_use == {}


def test_a_folder_that_holds_something_is_left_alone(mapping):
    before = mapping.read_text("utf-8")
    result = CliRunner().invoke(cli, ["example-shop", str(mapping.parent)])
    assert "is not empty" in str(result.exception)
    assert mapping.read_text("utf-8") == before


def test_the_pages_own_rows_are_too_few_and_the_check_says_so(tmp_path):
    for name, text in re.findall(r"```(?:toml|csv)\n# (\S+)\n(.*?)```", PAGE, flags=re.S):
        (tmp_path / name).write_text(text, "utf-8")
    (finding,) = errors(run_check(tmp_path / "mapping.toml", now=NOW).findings)
    assert finding.reason.startswith("1 requests cannot be divided")
    assert "map [items] alone" in finding.fix
    with pytest.raises(ValueError, match="cannot be divided"):
        run_all(RunConfig(data=str(tmp_path / "mapping.toml")), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_it_runs_to_a_served_slate(mapping, tmp_path, capsys):
    run_all(
        RunConfig(
            data=str(mapping), retrieval=RetrievalConfig(index="exact", epochs=2), training=TrainingConfig(epochs=2)
        ),
        tmp_path,
    )
    capsys.readouterr()
    recommend(tmp_path, user=None, surface="home", k=5)
    assert "5 of " in capsys.readouterr().out
