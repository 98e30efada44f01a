"""Malformed request: what is wrong with each field, what was received there, and which fields there are."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from marketplace.finding import nearest

MOST, LONGEST = 20, 80  # problems in one answer; characters of what was received
BRIEF = reprlib.Repr()
BRIEF.maxlevel = 2


class Malformed(ValueError):
    """A body that its model refuses; `problems` are (field, message), the field as a dotted path."""

    def __init__(self, error: ValidationError, model: type[BaseModel]) -> None:
        super().__init__(f"{model.__name__}: {error.error_count()} problems")
        found = error.errors(include_url=False, include_context=False)[:MOST]
        self.problems = [(".".join(map(str, problem["loc"])), _message(problem, model)) for problem in found]


@contextmanager
def refused_by(model: type[BaseModel]) -> Iterator[None]:
    """Where `model` validates: what it refuses is raised as Malformed."""
    try:
        yield
    except ValidationError as error:
        raise Malformed(error, model) from error


def _message(problem: Any, model: type[BaseModel]) -> str:
    *path, field = problem["loc"] or ("",)
    if problem["type"] == "extra_forbidden":
        return f"unknown field. {nearest(str(field), _fields(model, path))}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] in ("missing", "json_invalid", "value_error"):  # the last says what it received
        return message
    return f"{message}; received {BRIEF.repr(problem['input']):.{LONGEST}}"


def _fields(model: type[BaseModel], path: list[str | int]) -> list[str]:
    """The fields of the part of `model` that `path` leads to."""
    for key in path:
        if isinstance(key, str) and key in model.model_fields:
            model = next(_models(model.model_fields[key].annotation), model)
    return [*model.model_fields]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a type such as list[X] | None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
