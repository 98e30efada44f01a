"""The [search] table of a run file: which settings are searched, where, and what the best one is.

[search]
trials = 20

[search.settings]
trees.leaves = [15, 31, 63]                                        # choices
training.learning_rate = { least = 1e-4, most = 1e-2, log = true } # a range, and its scale
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna import Trial

from jobs.config import RunConfig
from jobs.run_file import OF_SEARCH, SETTINGS, merged, near, run_file, text_of
from marketplace.finding import DataError
from marketplace.settings import Setting, read_settings, setting
from marketplace.toml_text import KeyPath, TomlText, parse_toml

RANKER, RETRIEVAL = "ranker", "retrieval"
SPACE = "settings"  # the table within [search]


@dataclass(frozen=True)
class SearchPlan:
    """How settings are searched; the test period is never looked at."""

    trials: int = setting(20, "runs that are tried", unit="runs", least=1, most=100_000)
    objective: str = setting(
        RANKER,
        "what is highest on validation: the objective by which a run chooses its ranker, or the towers' recall",
        choices=(RANKER, RETRIEVAL),
    )
    prune: bool = setting(True, "end a fit whose validation curve lies below the median of the trials before")
    pruned_from: int = setting(3, "epochs that every fit may take", unit="epochs", least=1)
    unpruned: int = setting(4, "trials that are never ended early", unit="trials", least=1)


@dataclass(frozen=True)
class SearchedSetting:
    """Where one setting is searched: `choices` as the command line sets them, or a range between two numbers."""

    setting: Setting
    choices: tuple[str, ...] = ()
    least: float = 0.0
    most: float = 0.0
    log: bool = False

    def draw(self, trial: Trial) -> str:
        """A value of it, as the command line sets it."""
        name = self.setting.name
        if self.choices:
            return str(trial.suggest_categorical(name, self.choices))
        if self.setting.kind is int:
            return str(trial.suggest_int(name, int(self.least), int(self.most), log=self.log))
        return repr(trial.suggest_float(name, self.least, self.most, log=self.log))

    def start(self, config: RunConfig) -> Any:
        """The value of a run file that is searched, as a trial's parameter; None where it lies outside."""
        value = self.setting.of(config)
        if self.choices:
            return text_of(value) if text_of(value) in self.choices else None
        return value if self.least <= value <= self.most else None

    def __str__(self) -> str:
        if self.choices:
            return ", ".join(self.choices)
        return f"{self.least:g} .. {self.most:g}{', logarithmic' if self.log else ''}"


@dataclass(frozen=True)
class SearchFile:
    """A run file, what is searched in it, and how."""

    config: RunConfig
    plan: SearchPlan
    dimensions: tuple[SearchedSetting, ...]


def read_search(file: Path) -> SearchFile:
    """Raises DataError with every finding of the file, with lines."""
    base = run_file(file)
    config = read_settings(base, RunConfig)
    table = parse_toml(file.read_bytes(), file=str(file)).table(OF_SEARCH)
    plan = replace(table, content={name: value for name, value in table.content.items() if name != SPACE})
    return SearchFile(config, read_settings(plan, SearchPlan), tuple(_dimensions(table.table(SPACE), base)))


def _dimensions(space: TomlText, base: TomlText) -> list[SearchedSetting]:
    dimensions, findings = [], []
    for path, words in _leaves(space.content):
        name = ".".join(map(str, path))
        if name not in SETTINGS:
            findings.append(space.finding(path, "is no setting", near(name)))
            continue
        try:
            dimensions.append(_dimension(space, base, SETTINGS[name], words))
        except DataError as error:
            findings += error.findings
    if findings or not dimensions:
        reason, fix = (
            "names nothing to search",
            f"Write trees.leaves = [15, 31] under [{OF_SEARCH}.{SPACE}], or another setting.",
        )
        raise DataError(findings or [space.finding((), reason, fix)])
    return dimensions


def _leaves(content: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in content.items():
        here = (*path, key)
        if isinstance(value, dict) and ".".join(map(str, here)) not in SETTINGS and not {"least", "most"} & set(value):
            yield from _leaves(value, here)
        else:
            yield here, value


def _dimension(space: TomlText, base: TomlText, one: Setting, words: Any) -> SearchedSetting:
    """Each end or choice must be a value that the run file could have."""
    choices = words if isinstance(words, list) else []
    ends = words if isinstance(words, dict) else {}
    if not choices and not {"least", "most"} <= set(ends) <= {"least", "most", "log"}:
        fix = "Write a list of choices, or { least = ..., most = ... } with log = true for a logarithmic scale."
        raise DataError([space.finding(one.path, f"is {words!r:.60}", fix)])
    for value in choices or [ends["least"], ends["most"]]:
        content: Any = value
        for key in reversed(one.path):
            content = {key: content}
        read_settings(replace(space, content=merged(base.content, content)), RunConfig)
    if choices:
        return SearchedSetting(one, tuple(text_of(tuple(v) if isinstance(v, list) else v) for v in choices))
    log = ends.get("log", False)
    if one.kind not in (int, float) or not ends["least"] < ends["most"] or not isinstance(log, bool):
        fix = "Ranges are of numbers, from a lower to a higher; others are searched by a list of choices."
        raise DataError([space.finding(one.path, f"is {words!r:.60}", fix)])
    if log and ends["least"] <= 0:
        raise DataError([space.finding(one.path, "is logarithmic from 0 or less", "Begin above 0.")])
    return SearchedSetting(one, least=float(ends["least"]), most=float(ends["most"]), log=log)
