"""Run files and --set: what they say is what a run gets, and what they cannot say is refused where it stands."""

import re
from pathlib import Path

import pytest

from jobs.config import RunConfig
from jobs.run_file import explained, read_run, to_toml
from marketplace.finding import DataError
from marketplace.settings import settings_of

ROOT = Path(__file__).parents[2]
PACKAGES = ("features", "jobs", "marketplace", "retrieval", "serving", "value_model")
FILE = """seed = 8
data = "shop/mapping.toml"
[training]
epochs = 3
[retrieval]
hidden = [64, 32]
[search]
trials = 4
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "run.toml").write_text(FILE)
    return tmp_path / "run.toml"


def refusal(*arguments) -> str:
    with pytest.raises(DataError) as error:
        read_run(*arguments)
    return str(error.value)


def test_the_command_line_goes_before_the_file_and_the_file_before_the_defaults(file):
    sets = ["training.epochs=5", "retrieval.hidden=16,8", "trees.learning_rate=1", "training.objective=softmax"]
    config = read_run(file, sets, {"seed": None, "retrieval.index": "exact", "features": ("a",), "policy": "clicks"})
    assert (config.seed, config.training.epochs, config.training.patience) == (8, 5, 4)
    assert (config.retrieval.hidden, config.retrieval.index) == ((16, 8), "exact")
    assert (config.features, config.policy, config.training.objective) == (("a",), "clicks", "softmax")
    assert config.trees.learning_rate == 1
    assert config.data == str(file.parent / "shop" / "mapping.toml")
    assert read_run(None) == RunConfig()


def test_the_file_that_is_printed_says_the_same(tmp_path):
    config = read_run(None, ["features=a,b", 'policy=it\'s "one".toml', "retrieval.hidden=[]", "training.decay=1e-07"])
    (tmp_path / "run.toml").write_text(to_toml(config).replace("policy = ", 'policy = "" # '))
    assert read_run(tmp_path / "run.toml", [f"policy={config.policy}"]) == config


def test_every_default_is_within_its_range_and_has_a_meaning():
    for one in settings_of(RunConfig):
        assert one.range.holds(one.default), one.name
        assert one.range.help, one.name
    assert len(explained()) == len({name for name, *_ in explained()})


def test_every_setting_is_read_somewhere():
    files = {path: path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    words = {word for path, text in files.items() if path.name != "config.py" for word in re.findall(r"\w+", text)}
    words |= {word for text in files.values() for word in re.findall(r"self\.(\w+)", text)}
    assert [one.name for one in settings_of(RunConfig) if one.path[-1] not in words] == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[trainng]", ["run.toml:9", "unknown field 'trainng'", "'training'"]),
        ("[trees]\nleaf = 3", ["run.toml:10", "unknown field 'leaf'", "'leaves'"]),
        ("[trees]\nleaves = 1", ["run.toml:10", "trees.leaves is 1", "2 .. 65,536 leaves"]),
        ("[trees]\ndebiased = true", ["run.toml:10", "debiased = true", "'pointwise'", "lambdarank"]),
        ('[trees]\nlibrary = "lightgbn"', ["run.toml:10", "'lightgbm'"]),
        ("[trees]\nleaves = true", ["run.toml:10", "trees.leaves is True", "whole number"]),
        ("[trees]\nposition = true", ["run.toml:10", "trees.position is no setting"]),
        ("[ranker]\nexpert_units = [64, 0]", ["run.toml:10", "ranker.expert_units is (64, 0)"]),
    ],
)
def test_a_file_is_refused_where_it_errs(file, line, words):
    file.write_text(FILE + line + "\n")
    message = refusal(file)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("training.epoch=3", ["'training.epochs'"]),
        ("leaves=3", ["'trees.leaves'"]),
        ("training.epochs", ["--set NAME=VALUE"]),
        ("training.epochs=many", ["training.epochs is 'many'", "whole number"]),
        ("training.epochs=0", ["1 .. 10,000 epochs"]),
        ("retrieval.hidden=64,x", ["retrieval.hidden.2 is 'x'"]),
        ("retrieval.gate=nan", ["retrieval.gate"]),
    ],
)
def test_the_command_line_is_refused_by_name(assignment, words):
    message = refusal(None, [assignment])
    assert [word for word in ["--set", *words] if word not in message] == []


def test_settings_that_contradict_each_other_are_refused(file):
    message = refusal(file, ["training.position_dropout=0.5", "ranker.examination=pal"])
    assert "position_dropout" in message
    assert "'pal'" in message
    file.write_text(FILE + '[ranker]\nexamination = "ipw"\n')
    message = refusal(file, ["training.objective=ranknet"])
    assert "ranknet" in message
    assert "softmax" in message


def test_a_setting_is_set_once():
    assert "'7' and '8'" in refusal(None, ["seed=7"], {"seed": 8})
    assert read_run(None, ["seed=8"], {"seed": 8}).seed == 8
