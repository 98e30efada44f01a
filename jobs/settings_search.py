"""The search for settings: Optuna over runs, on validation alone; resumable, pruned early, stages shared.

OUT/study.jsonl      the trials, an Optuna study
OUT/trials/0, 1, ..  the run of each trial: data, retrieval and ranker, no evaluation, no bundle

A trial takes over the data, the retrieval and the network of an earlier one whose settings of these are the same: a
search of trees alone fits one network. One that was interrupted goes on in its folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import optuna
from optuna.pruners import MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from jobs.config import RunConfig
from jobs.fingerprint import changed_files
from jobs.provenance import LOSSES
from jobs.run import STAGES
from jobs.run_file import COMMAND, SETTINGS, read_run
from jobs.run_folder import RunFolder, RunFolderError
from jobs.run_rankers import choice_of
from jobs.search_space import RANKER, SearchFile, read_search
from jobs.tables import print_section
from jobs.train_ranker import train_ranker
from jobs.train_retrieval import train_retrieval

STUDY, TRIALS = "study.jsonl", "trials"
FOLDER, REFUSED, SEARCHED = "folder", "refused", "searched"  # what the study keeps beside parameters
NETWORK = "network"  # the first part of the ranker's stage
# The settings that a stage is the first to read.
READ_BY = {
    "data": ("data", "size", "seed", "policy", "features"),
    "retrieval": ("surfaces", "periods", "retrieval", "sources"),
    NETWORK: ("ranker", "training"),
}


def search(file: Path, *, out: Path, trials: int | None = None) -> None:
    """Make the runs that are left, print all, and the command that completes the best one.

    Raises RunFolderError where OUT holds the search of something else, or of data that changed since.
    """
    searched = read_search(file)
    study = study_of(searched, out)
    left = (trials or searched.plan.trials) - sum(map(_done, study.get_trials(deepcopy=False)))
    runs = TrialRuns(file, searched, out)
    for run in runs.folders():
        if changed := changed_files(run) if "data" in run.stages else []:
            raise RunFolderError(f"{', '.join(changed)} changed since the search began. Choose another --out.")
    study.optimize(runs.objective, n_trials=max(left, 0), catch=(ValueError,))
    _report(study, searched, runs)


def study_of(searched: SearchFile, out: Path) -> optuna.Study:
    """The study in OUT, its interrupted trials waiting to go on; a new one begins with the settings of the file.

    Raises RunFolderError where OUT holds the search of something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a trial that is refused says so itself
    plan, storage = searched.plan, JournalStorage(JournalFileBackend(str(out / STUDY)))
    study = optuna.create_study(storage=storage, study_name="settings", direction="maximize", load_if_exists=True)
    study.pruner = (
        MedianPruner(n_startup_trials=plan.unpruned, n_warmup_steps=plan.pruned_from - 1) if plan.prune else NopPruner()
    )
    trials = study.get_trials(deepcopy=False)
    study.sampler = TPESampler(seed=searched.config.seed + len(trials), multivariate=True)
    subject = _subject(searched)
    if not trials:
        study.set_user_attr(SEARCHED, subject)
        start = {one.setting.name: one.start(searched.config) for one in searched.dimensions}
        study.enqueue_trial({name: value for name, value in start.items() if value is not None})
        return study
    before = study.user_attrs[SEARCHED]
    if other := [name for name in before | subject if before.get(name) != subject.get(name)]:
        raise RunFolderError(
            f"{out} holds a search of something else: {', '.join(other)} differ. Choose another --out."
        )
    taken_up = {trial.user_attrs[FOLDER] for trial in trials if trial.state is TrialState.WAITING and trial.user_attrs}
    for trial in trials:
        if trial.params and not _done(trial) and trial.state is not TrialState.WAITING:
            taken_up |= _take_up(study, trial, taken_up)
    return study


def _subject(searched: SearchFile) -> dict[str, str]:
    """What a search is of: the settings of its file, the dimensions and the objective."""
    settings = {name: repr(one.of(searched.config)) for name, one in SETTINGS.items()}
    dimensions = {f"search.settings.{one.setting.name}": str(one) for one in searched.dimensions}
    return settings | dimensions | {"search.objective": searched.plan.objective}


def _done(trial: FrozenTrial) -> bool:
    """Whether a trial has an end of its own: a value, a pruned fit, or settings that were refused."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or REFUSED in trial.user_attrs


def _take_up(study: optuna.Study, trial: FrozenTrial, taken_up: set[str]) -> set[str]:
    """Let an interrupted trial go on as a new one in its folder, unless that happened before."""
    folder = trial.user_attrs[FOLDER]
    later = [one for one in study.get_trials(deepcopy=False) if one.number > trial.number]
    if trial.state is TrialState.RUNNING:
        study.tell(trial.number, state=TrialState.FAIL)
    if folder in taken_up or any(one.user_attrs.get(FOLDER) == folder for one in later):
        return set()
    study.enqueue_trial(trial.params, user_attrs={FOLDER: folder})
    return {folder}


@dataclass(frozen=True)
class TrialRuns:
    """Makes the run of each trial."""

    file: Path
    searched: SearchFile
    out: Path

    def objective(self, trial: Trial) -> float:
        """The trial's objective on validation; raises TrialPruned, and ValueError for settings that cannot be run."""
        folder = trial.user_attrs.get(FOLDER, str(trial.number))
        trial.set_user_attr(FOLDER, folder)
        assignments = [f"{one.setting.name}={one.draw(trial)}" for one in self.searched.dimensions]
        print(f"== trial {trial.number}: {', '.join(assignments)}", flush=True)
        try:
            run = RunFolder.create(self.out / TRIALS / folder, read_run(self.file, assignments))
            self._take_over(run)
            return self._made(run, trial)
        except ValueError as error:
            trial.set_user_attr(REFUSED, str(error))
            print(f"   refused: {error}", flush=True)
            raise

    def folders(self) -> Iterator[RunFolder]:
        """The runs of all trials."""
        for path in sorted((self.out / TRIALS).glob("*"), key=lambda path: int(path.name)):
            yield RunFolder.open(path)

    def _take_over(self, run: RunFolder) -> None:
        """Stages of other trials that this one's settings do not change."""
        for stage in (stage for stage in READ_BY if stage in STAGES):
            if stage in run.stages:
                continue
            for other in self.folders():
                if stage in other.stages and _same(run.config, other.config, stage):
                    run.take_over(other, stage)
                    break
            else:
                return

    def _fitted(self, run: RunFolder) -> Path | None:
        """ranker/ of another trial with the network that this one's settings lead to; None = there is none."""
        done = (other for other in self.folders() if "ranker" in other.stages and other.heads)
        return next((other.path / "ranker" for other in done if _same(run.config, other.config, NETWORK)), None)

    def _made(self, run: RunFolder, trial: Trial) -> float:
        watch = partial(_watch, trial)
        run.stage("data", partial(STAGES["data"], run))
        if self.searched.plan.objective != RANKER:
            run.stage("retrieval", partial(train_retrieval, run, watch=watch))
            return max(json.loads((run.path / "retrieval" / LOSSES).read_text())["losses"]["recall"])
        run.stage("retrieval", partial(STAGES["retrieval"], run))
        run.stage("ranker", partial(train_ranker, run, watch=watch, fitted=self._fitted(run)))
        if not run.heads:
            raise ValueError('no head is learned of these data; search with objective = "retrieval".')
        choice = choice_of(run)
        return choice.objective[choice.served].value


def _same(ours: RunConfig, theirs: RunConfig, stage: str) -> bool:
    """Whether both configurations lead to the same stage."""
    stages = list(READ_BY)[: list(READ_BY).index(stage) + 1]
    read = {name for one in stages for name in READ_BY[one]}
    return all(one.of(ours) == one.of(theirs) for one in SETTINGS.values() if one.path[0] in read)


def _watch(trial: Trial, epoch: int, curves: Mapping[str, Mapping[str, float]]) -> None:
    """Compare the validation curve with those of other trials: recall, or the sum of the heads' losses."""
    validation = {name: value for name, value in curves["validation"].items() if name != "watched"}
    recall = [value for name, value in validation.items() if name.startswith("recall")]
    trial.report(recall[0] if recall else -sum(validation.values()), epoch)
    if trial.should_prune():
        print(f"   pruned after epoch {epoch + 1}", flush=True)
        raise optuna.TrialPruned


def _report(study: optuna.Study, searched: SearchFile, runs: TrialRuns) -> None:
    names = [one.setting.name for one in searched.dimensions]
    trials = [trial for trial in study.get_trials(deepcopy=False) if _done(trial)]
    trials.sort(key=lambda trial: (trial.state is not TrialState.COMPLETE, -(trial.value or 0.0)))
    rows = [
        (trial.user_attrs[FOLDER], _outcome(trial), *(str(trial.params.get(name, "")) for name in names))
        for trial in trials
    ]
    caption = f"{searched.plan.objective} on validation; trials are runs in {runs.out / TRIALS}"
    print_section(("trial", "objective", *names), rows, title="search for settings", caption=caption)
    if trials and trials[0].state is TrialState.COMPLETE:
        print(f"   best: {command(trials[0].params, runs, trials[0].user_attrs[FOLDER])}")
    elif trials and all(REFUSED in trial.user_attrs for trial in trials):
        raise RunFolderError(f"no trial could be run. The first: {trials[0].user_attrs[REFUSED]}")


def _outcome(trial: FrozenTrial) -> str:
    return f"{trial.value:.4f}" if trial.state is TrialState.COMPLETE else trial.state.name.lower()


def command(params: Mapping[str, Any], runs: TrialRuns, folder: str) -> str:
    """What completes a trial's run, and makes the same one elsewhere under another --out."""
    sets = " ".join(f"{COMMAND} {quote(f'{name}={value}')}" for name, value in params.items())
    return f"value-model run --config {runs.file} {sets} --out {runs.out / TRIALS / folder}"
