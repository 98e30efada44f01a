"""A run file: the settings of a run as TOML, and single ones by name on the command line.

    seed = 8
    [training]
    epochs = 30

Paths in the file are relative to it. What the command line sets goes before the file, and the file before the defaults.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.config import RunConfig
from marketplace.finding import DataError, Finding, Where, nearest
from marketplace.log_place import is_address
from marketplace.settings import Setting, changes, read_settings, settings_of
from marketplace.toml_text import TomlText, parse_toml

OF_SEARCH = "search"  # the table of a run file that `value-model search` reads
FILES = (".toml", ".sqlite")
FOLDERS = ("start",)
COMMAND = "--set"
SETTINGS = {one.name: one for one in settings_of(RunConfig)}


def read_run(file: Path | None, assignments: Iterable[str] = (), short: Mapping[str, Any] | None = None) -> RunConfig:
    """The settings of a run: `file`, changed by "section.name=value" and by `short` forms (name -> value; None: unset).

    Raises DataError with every finding of the file, or of the command line.
    """
    written = TomlText("", {}, {}) if file is None else run_file(file)
    read_settings(written, RunConfig)
    flags = {name: value for name, value in (short or {}).items() if value not in (None, ())}
    changed = assigned([*assignments, *(f"{name}={text_of(value)}" for name, value in flags.items())])
    read_settings(changed, RunConfig)
    return read_settings(replace(written, content=merged(written.content, changed.content)), RunConfig)


def run_file(file: Path) -> TomlText:
    """A run file without its table of a search; its paths as seen from here."""
    text = parse_toml(file.read_bytes(), file=str(file))
    content = {name: value for name, value in text.content.items() if name != OF_SEARCH}
    for name, value in content.items():
        folder = name in FOLDERS and value
        if isinstance(value, str) and (folder or Path(value).suffix in FILES) and not is_address(value):
            content[name] = str(file.parent / value)
    return replace(text, content=content)


def assigned(assignments: Iterable[str]) -> TomlText:
    """The texts "section.name=value" as one TOML; raises DataError for unknown names, and for a name set twice."""
    content: dict[str, Any] = {}
    findings, before = [], dict[str, str]()
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or name not in SETTINGS:
            fix = f"{near(name)} `value-model config --explain` lists all.".strip()
            fix = fix if equals else f"Write {COMMAND} NAME=VALUE."
            findings.append(Finding("settings", Where(COMMAND), f"{assignment!r} sets no setting.", fix))
        elif before.setdefault(name, value) != value:
            reason = f"{name} is {before[name]!r} and {value!r}."
            findings.append(Finding("settings", Where(COMMAND), reason, "Set it once."))
        else:
            *sections, last = SETTINGS[name].path
            table = content
            for section in sections:
                table = table.setdefault(section, {})
            table[last] = _value(SETTINGS[name], value)
    if findings:
        raise DataError(findings)
    return TomlText(COMMAND, content, {})


def near(name: str) -> str:
    """What an unknown name likely means: the nearest, or else the names of the same end in any section."""
    last = name.rpartition(".")[2]
    same = [one for one in SETTINGS if last == one.rpartition(".")[2]]
    likely = f"Did you mean {' or '.join(map(repr, same))}?" if same else ""
    return nearest(name, list(SETTINGS), listed=0) or likely


def _value(setting: Setting, text: str) -> Any:
    """The TOML value of a text; a text itself where the setting is one, and a list with or without its brackets."""
    if setting.kind is str:
        return text
    listed = isinstance(setting.default, tuple) and not text.startswith("[")
    try:
        return tomllib.loads(f"x = [{text}]" if listed else f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text.split(",") if listed else text


def text_of(value: Any) -> str:
    """A value as `assigned` reads it: a text as it is, lists and truths as TOML writes them."""
    return toml_value(value) if isinstance(value, tuple | bool) else str(value)


def merged(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Tables within tables, `after` over `before`."""
    tables = {k: merged(before.get(k, {}), v) if isinstance(v, dict) else v for k, v in after.items()}
    return {**before, **tables}


def changed_settings(config: RunConfig) -> list[str]:
    """The settings that are not the defaults, as the command line sets them."""
    return [f"{name}={text_of(after)}" for name, _, after in changes(RunConfig(), config)]


def to_toml(config: RunConfig) -> str:
    """The whole run file of some settings, with the meaning of each."""
    lines, section = [], ""
    for one in SETTINGS.values():
        here = ".".join(one.path[:-1])
        if here != section:
            lines += ["", f"[{here}]"]
            section = here
        about = ", ".join(filter(None, (one.range.unit, str(one.range))))
        lines.append(
            f"{one.path[-1]} = {toml_value(one.of(config))}  # {one.range.help}" + (f" ({about})" if about else "")
        )
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A text, number, truth value or tuple of them as TOML writes it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)


def explained() -> list[tuple[str, str, str, str, str]]:
    """Name, default, unit, range and meaning of every setting."""
    return [
        (one.name, toml_value(one.default), one.range.unit, str(one.range), one.range.help) for one in SETTINGS.values()
    ]
