"""Settings: fields of frozen dataclasses that a run file may set, each with its meaning, unit and range.

A dataclass that holds others of its kind is a tree of sections; a setting's path is its section and its name. A field
that is neither a setting nor a section is the program's alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import reduce
from typing import Any, TypeVar, cast, get_type_hints

from marketplace.finding import DataError, Finding, nearest
from marketplace.toml_model import as_model
from marketplace.toml_text import KeyPath, TomlText

T = TypeVar("T")


@dataclass(frozen=True)
class SettingRange:
    """What a setting means (`help`), its unit, and what it may be: bounds (None = none) or `choices` (empty = any).

    Those of a tuple hold for each of its entries.
    """

    help: str
    unit: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple[Any, ...] = ()

    def holds(self, value: Any) -> bool:
        """Whether a value of the right type lies within."""
        if isinstance(value, tuple):
            return all(map(self.holds, value))
        if self.choices and value not in self.choices:
            return False
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        if self.choices:
            return ", ".join(str(choice) or '""' for choice in self.choices)
        low, high = ("" if bound is None else f"{bound:,.12g}" for bound in (self.least, self.most))
        return f"{low} .. {high}" if low and high else f"{low} or more" if low else f"up to {high}" if high else ""


@dataclass(frozen=True)
class Setting:
    """One setting of a tree of sections."""

    path: tuple[str, ...]
    kind: Any  # its type
    default: Any
    range: SettingRange

    @property
    def name(self) -> str:
        return ".".join(self.path)

    def of(self, tree: Any) -> Any:
        """Its value in a tree of sections."""
        return reduce(getattr, self.path, tree)


def setting(
    default: T,
    help: str,
    *,
    unit: str = "",
    least: float | None = None,
    most: float | None = None,
    choices: Sequence[Any] = (),
) -> T:
    """A field of a frozen dataclass that is a setting; `help` is a phrase of one line."""
    about = SettingRange(help, unit, least, most, tuple(choices))
    return cast(T, field(default=default, metadata={"setting": about}))


def changes(before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """The settings in which two trees of one type differ: name, value before, value after."""
    for one in settings_of(type(before)):
        values = one.of(before), one.of(after)
        if values[0] != values[1]:
            yield one.name, *values


def settings_of(section: type, path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """The settings of a dataclass and of the sections in it, in the order they are written."""
    kinds = get_type_hints(section)
    for one in fields(section):
        kind, here = kinds[one.name], (*path, one.name)
        if is_dataclass(kind):
            yield from settings_of(cast(type, kind), here)
        elif about := one.metadata.get("setting"):
            yield Setting(here, kind, one.default, about)


def read_settings(text: TomlText, tree: type[T]) -> T:
    """The tree of sections that a text describes, defaults for what it leaves out.

    Raises DataError with every finding: names that are unknown, values of another type, values out of their range.
    """
    value, known = as_model(text, tree), {one.path: one for one in settings_of(tree)}
    findings = [
        text.finding(path, "is no setting of a run", "Leave it out.")
        for path in _written(text.content)
        if path not in known
    ]
    findings += [
        _out_of_range(text, one, one.of(value)) for one in known.values() if not one.range.holds(one.of(value))
    ]
    if findings:
        raise DataError(findings)
    return value


def _written(content: dict[str, Any], path: KeyPath = ()) -> Iterator[KeyPath]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _written(value, (*path, key))
        else:
            yield (*path, key)


def _out_of_range(text: TomlText, one: Setting, value: Any) -> Finding:
    about = one.range
    unit = f" {about.unit}" if about.unit else ""
    fix = nearest(str(value), list(map(str, about.choices))) if about.choices else f"Write {about}{unit}."
    return text.finding(one.path, f"is {value!r:.60} ({about.help})", fix)
