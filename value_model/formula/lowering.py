"""One walk over the tree for every back-end: a table of functions says what the arithmetic means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from value_model.formula.tree import Apply, Name, Node, Number


def lower(
    node: Node,
    columns: Mapping[str, Any],
    *,
    operations: Mapping[str, Callable[..., Any]],
    constant: Callable[[float], Any] = float,
) -> Any:
    """The tree's value over `columns` under `operations` (the keys of `tree.FUNCTIONS`)."""
    match node:
        case Number(value):
            return constant(value)
        case Name(id):
            return columns[id]
        case Apply(function, arguments):
            parts = [lower(argument, columns, operations=operations, constant=constant) for argument in arguments]
            return operations[function](*parts)
