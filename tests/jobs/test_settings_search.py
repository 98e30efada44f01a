"""The search for settings: what a file may search, what trials share, how an interrupted search goes on."""

import json
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from jobs.config import RunConfig
from jobs.run_file import read_run
from jobs.run_folder import RunFolder, RunFolderError
from jobs.search_space import read_search
from jobs.settings_search import TrialRuns, search, study_of
from marketplace.finding import DataError

FILE = """seed = 8
[trees]
leaves = 15
[search]
trials = 6
[search.settings]
trees.leaves = [7, 15]
training.learning_rate = { least = 1e-4, most = 1e-2, log = true }
retrieval.hidden = [[64], [32, 16]]
[search.settings.ranker]
experts = { least = 2, most = 6 }
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "run.toml").write_text(FILE)
    return tmp_path / "run.toml"


def test_a_file_says_what_is_searched_and_how(file):
    searched = read_search(file)
    assert (searched.config.seed, searched.config.trees.leaves, searched.plan.trials) == (8, 15, 6)
    assert {one.setting.name: str(one) for one in searched.dimensions} == {
        "trees.leaves": "7, 15",
        "training.learning_rate": "0.0001 .. 0.01, logarithmic",
        "retrieval.hidden": "[64], [32, 16]",
        "ranker.experts": "2 .. 6",
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trees.leafs = [7]", ["run.toml:7", "'trees.leaves'"]),
        ("trees.leaves = [7, 1]", ["run.toml:7", "trees.leaves is 1", "2 .. 65,536"]),
        ("trees.leaves = 7", ["run.toml:7", "trees.leaves is 7", "list of choices"]),
        ('trees.library = { least = "a", most = "b" }', ["run.toml:7", "trees.library is 'a'"]),
        ("trees.leaves = { least = 9, most = 7 }", ["run.toml:7", "from a lower to a higher"]),
        ("training.decay = { least = 0, most = 1, log = true }", ["run.toml:7", "Begin above 0"]),
        ("", ["run.toml:6", "names nothing to search", "trees.leaves = [15, 31]"]),
    ],
)
def test_what_cannot_be_searched_is_refused_where_it_stands(file, line, words):
    head = FILE.partition("trees.leaves = [7")[0]
    file.write_text(head + line + "\n")
    with pytest.raises(DataError) as error:
        read_search(file)
    assert [word for word in words if word not in str(error.value)] == []


def test_every_choice_of_whatever_kind_is_a_setting_that_a_run_takes(file):
    head = FILE.partition("trees.leaves = [7")[0]
    file.write_text(
        head + 'ranker.body = ["mmoe", "ple"]\ntrees.refit = [true, false]\nretrieval.hidden = [[64], [32, 16]]\n'
        'ranker.dropout = [0.1, 0.2]\nretrieval.index = ["exact", "scann"]\n'
    )
    searched = read_search(file)
    for one in searched.dimensions:
        taken = [one.setting.of(read_run(file, [f"{one.setting.name}={choice}"])) for choice in one.choices]
        assert len(set(taken)) == 2
        if (start := one.start(searched.config)) is not None:  # the file's own value is among the choices
            assert one.setting.of(read_run(file, [f"{one.setting.name}={start}"])) == one.setting.of(searched.config)
    assert {one.setting.name: one.start(searched.config) for one in searched.dimensions}["ranker.body"] == "mmoe"


def test_a_plan_is_read_like_settings(file):
    file.write_text(FILE.replace("trials = 6", 'objective = "test"'))
    with pytest.raises(DataError, match=r"run.toml:5.*Known: ranker, retrieval"):
        read_search(file)


@pytest.fixture
def made(monkeypatch):
    """Runs without training: trees of 7 leaves are refused, others are worth their learning rate."""
    seen = []

    def make(self, run, trial):
        seen.append((run.path.name, run.config.trees.leaves))
        if len(seen) == 3:
            raise KeyboardInterrupt
        if run.config.trees.leaves == 7:
            raise ValueError("too few")
        return run.config.training.learning_rate

    monkeypatch.setattr(TrialRuns, "_made", make)
    return seen


def test_an_interrupted_search_goes_on_and_ends_with_the_command_of_its_best(file, tmp_path, made, capsys):
    out = tmp_path / "search"
    with pytest.raises(KeyboardInterrupt):
        search(file, out=out)
    assert made[0] == ("0", 15)  # the settings of the file come first
    search(file, out=out)
    assert made[3] == made[2]  # in the same folder, with the same settings
    assert len({folder for folder, _ in made}) == 6
    study = study_of(read_search(file), out)
    best = max(trial.value for trial in study.trials if trial.state is TrialState.COMPLETE)
    printed = capsys.readouterr().out
    assert f"value-model run --config {file} --set trees.leaves=15 --set training.learning_rate={best}" in printed
    search(file, out=out)
    assert len(made) == 7
    search(file, out=out, trials=7)
    assert len(made) == 8
    file.write_text(FILE.replace("seed = 8", "seed = 9").replace("most = 6", "most = 5"))
    with pytest.raises(RunFolderError, match=r"seed, search.settings.ranker.experts differ"):
        search(file, out=out)


def test_a_search_of_which_no_trial_can_be_run_says_so_in_the_end(file, tmp_path, monkeypatch, capsys):
    def refuse(self, run, trial):
        raise ValueError("too few")

    monkeypatch.setattr(TrialRuns, "_made", refuse)
    with pytest.raises(RunFolderError, match=r"no trial could be run\. The first: too few"):
        search(file, out=tmp_path / "search", trials=2)
    assert "Traceback" not in "".join(capsys.readouterr())


def test_trials_share_the_stages_that_their_settings_do_not_change(file, tmp_path):
    searched, out = read_search(file), tmp_path / "search"
    runs = TrialRuns(file, searched, out)
    base = searched.config
    first = RunFolder.create(out / "trials" / "0", base)
    for stage in ("data", "retrieval"):
        (first.part(stage) / "made.json").write_text(stage)
    (first.path / "stages.json").write_text(json.dumps({"data": {"seconds": 1}, "retrieval": {"seconds": 2}}))
    towers = replace(base, retrieval=replace(base.retrieval, dimensions=8))
    trees = replace(base, trees=replace(base.trees, leaves=7))
    for number, (config, stages) in enumerate([(trees, ["data", "retrieval"]), (towers, ["data"]), (RunConfig(), [])]):
        run = RunFolder.create(out / "trials" / str(number + 1), config)
        runs._take_over(run)
        assert list(run.stages) == stages
        assert all((run.path / stage / "made.json").read_text() == stage for stage in stages)


def test_a_network_is_shared_by_trials_that_differ_in_their_trees_alone(file, tmp_path):
    base, runs = read_search(file).config, TrialRuns(file, read_search(file), tmp_path / "search")
    first = RunFolder.create(tmp_path / "search" / "trials" / "0", base)
    assert runs._fitted(first) is None  # its ranker is not there yet
    (first.part("ranker") / "network").mkdir()
    (first.path / "ranker" / "network" / "network.json").write_text('{"heads": ["ctr"]}')
    (first.path / "stages.json").write_text(json.dumps({"ranker": {"seconds": 1}}))
    trees = replace(base, trees=replace(base.trees, leaves=7))
    assert runs._fitted(RunFolder.create(tmp_path / "trees", trees)) == first.path / "ranker"
    for other in (
        replace(trees, ranker=replace(base.ranker, experts=3)),
        replace(trees, training=replace(base.training, learning_rate=0.1)),
        replace(trees, seed=base.seed + 1),
    ):
        assert runs._fitted(RunFolder.create(tmp_path / str(hash(other)), other)) is None
