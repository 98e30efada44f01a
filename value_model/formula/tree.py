"""The formula's syntax tree: numbers, names, and functions applied to arguments.

Operators are functions too: "+" takes any number of terms and adds them from left to right (a - b is a + neg(b), and
nested sums are flattened, so that the terms of a sum are what `explain` shows); "*", "/", "**" take two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Number:
    """A literal."""

    value: float


@dataclass(frozen=True)
class Name:
    """A weight, a quantity or an earlier expression."""

    id: str


@dataclass(frozen=True)
class Apply:
    """A function of the grammar applied to its arguments."""

    function: str
    arguments: tuple[Node, ...]


Node = Number | Name | Apply

COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
SLATE_FUNCTIONS = {
    "slate_mean": 1,
    "slate_std": 1,
    "slate_min": 1,
    "slate_max": 1,
    "slate_sum": 1,
    "slate_rank": 1,
    "slate_minmax": 1,
    "slate_nth": 2,
}
# Functions that a formula may call -> (fewest, most) arguments.
CALLABLE: dict[str, tuple[int, int]] = {
    "abs": (1, 1),
    "clip": (3, 3),
    "exp": (1, 1),
    "log": (1, 1),
    "log1p": (1, 1),
    "max": (2, 64),
    "min": (2, 64),
    "number": (1, 1),
    "sigmoid": (1, 1),
    "sqrt": (1, 1),
    "where": (3, 3),
} | {name: (count, count) for name, count in SLATE_FUNCTIONS.items()}
OPERATORS = ("+", "*", "/", "**", "neg", "and", "or", "not", *COMPARISONS)
# Everything that a back-end must implement.
FUNCTIONS = frozenset(CALLABLE) | frozenset(OPERATORS)


def names(node: Node) -> Iterator[str]:
    """Every name in the tree, in order of appearance, with repeats."""
    if isinstance(node, Name):
        yield node.id
    elif isinstance(node, Apply):
        for argument in node.arguments:
            yield from names(argument)


def functions(node: Node) -> Iterator[str]:
    """Every function in the tree, with repeats."""
    if isinstance(node, Apply):
        yield node.function
        for argument in node.arguments:
            yield from functions(argument)


def terms(node: Node) -> tuple[Node, ...]:
    """The terms of a sum; any other tree is its own single term."""
    return node.arguments if isinstance(node, Apply) and node.function == "+" else (node,)


def text(node: Node) -> str:
    """The canonical text, which parses back to the same tree."""
    match node:
        case Number(value):
            digits = repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
            return f"({digits})" if value < 0 else digits
        case Name(id):
            return id
        case Apply("+", arguments):
            return "(" + " ".join(_signed(i, argument) for i, argument in enumerate(arguments)) + ")"
        case Apply("neg" | "not" as function, (argument,)):
            return f"({'-' if function == 'neg' else 'not '}{text(argument)})"
        case Apply(function, (left, right)) if function in OPERATORS:
            return f"({text(left)} {function} {text(right)})"
        case Apply(function, arguments):
            return f"{function}({', '.join(map(text, arguments))})"


def _signed(index: int, term: Node) -> str:
    if isinstance(term, Apply) and term.function == "neg":
        return ("- " if index else "-") + text(term.arguments[0])
    return ("+ " if index else "") + text(term)
