"""From a formula's text to its tree: Python's own parser, then a whitelist; nothing is ever evaluated.

Python's arithmetic, comparisons, `and`, `or`, `not`, `a if condition else b` and the functions of `tree.CALLABLE`.
`^` is read as `**`.
"""

from __future__ import annotations

import ast
import math
import warnings

from marketplace.finding import Where
from value_model.formula.policy_error import PolicyError, refuse
from value_model.formula.tree import CALLABLE, Apply, Name, Node, Number

LONGEST = 4000  # characters
DEEPEST = 40  # levels of nesting

_BINARY: dict[type[ast.operator], str] = {ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


def parse(source: str, *, where: Where) -> Node:
    """The tree of `source`; raises PolicyError for everything outside the grammar."""
    if len(source) > LONGEST:
        raise refuse(
            "grammar", where, f"the formula has {len(source)} characters.", f"Split it: {LONGEST} is the limit."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(" ".join(source.replace("^", "**").split()), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _unreadable(source, error, where) from error
    return _Reader(where).read(body, 0)


def _unreadable(source: str, error: Exception, where: Where) -> PolicyError:
    detail = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
    return refuse(
        "grammar",
        where,
        f"{source[:80]!r} is not a formula: {detail}.",
        "Write arithmetic such as w_click * ctr + w_gmv * gmv.",
    )


class _Reader:
    """Turns whitelisted Python nodes into the formula's own."""

    def __init__(self, where: Where) -> None:
        self.where = where

    def refuse(self, reason: str, fix: str) -> PolicyError:
        return refuse("grammar", self.where, reason, fix)

    def read(self, node: ast.expr, depth: int) -> Node:
        if depth > DEEPEST:
            raise self.refuse(
                f"the formula nests deeper than {DEEPEST} levels.", "Name parts of it as own expressions."
            )
        match node:
            case ast.Constant(value):
                return self.number(value)
            case ast.Name(id):
                return Name(id)
            case ast.UnaryOp(ast.USub(), operand):
                return _negate(self.read(operand, depth + 1))
            case ast.UnaryOp(ast.UAdd(), operand):
                return self.read(operand, depth + 1)
            case ast.UnaryOp(ast.Not(), operand):
                return Apply("not", (self.read(operand, depth + 1),))
            case ast.BinOp(op=ast.Add() | ast.Sub()):
                return self.sum(node, depth)
            case ast.BinOp(left, operator, right) if type(operator) in _BINARY:
                sides = (self.read(left, depth + 1), self.read(right, depth + 1))
                return Apply(_BINARY[type(operator)], sides)
            case ast.BoolOp(operator, values):
                return self.fold("and" if isinstance(operator, ast.And) else "or", values, depth)
            case ast.Compare():
                return self.compare(node, depth)
            case ast.IfExp(test, body, orelse):
                return Apply("where", tuple(self.read(part, depth + 1) for part in (test, body, orelse)))
            case ast.Call():
                return self.call(node, depth)
        raise self.refuse(
            f"{ast.unparse(node)[:60]!r} is not part of the grammar.",
            f"Use + - * / ** comparisons, `a if c else b` and {', '.join(CALLABLE)}.",
        )

    def number(self, value: object) -> Number:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(
                f"{value!r} is not a number.", "Use plain numbers; texts and complex numbers have no place."
            )
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.refuse("a number is too large for float64.", "Write a finite number.")
        return Number(number)

    def sum(self, node: ast.BinOp, depth: int) -> Node:
        """Terms of a chain of + and -, which Python nests to the left: walked without deepening."""
        chain: list[tuple[ast.expr, bool]] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Add | ast.Sub):
            chain.append((left.right, isinstance(left.op, ast.Sub)))
            left = left.left
        parts: list[Node] = []
        for part, minus in [(left, False), *reversed(chain)]:
            read = self.read(part, depth + 1)
            parts.extend(_terms(_negate(read) if minus else read))
        return Apply("+", tuple(parts))

    def fold(self, function: str, values: list[ast.expr], depth: int) -> Node:
        read = [self.read(value, depth + 1) for value in values]
        tree = read[0]
        for right in read[1:]:
            tree = Apply(function, (tree, right))
        return tree

    def compare(self, node: ast.Compare, depth: int) -> Node:
        sides = [self.read(side, depth + 1) for side in (node.left, *node.comparators)]
        tree: Node | None = None
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            if type(operator) not in _COMPARE:
                raise self.refuse("`in` and `is` are not part of the grammar.", "Compare with < <= > >= == !=.")
            link = Apply(_COMPARE[type(operator)], (left, right))
            tree = link if tree is None else Apply("and", (tree, link))
        assert tree is not None
        return tree

    def call(self, node: ast.Call, depth: int) -> Node:
        function = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)[:40]
        if function not in CALLABLE:
            raise self.refuse(f"{function!r} is not a function of the grammar.", f"Use one of {', '.join(CALLABLE)}.")
        fewest, most = CALLABLE[function]
        if node.keywords or not fewest <= len(node.args) <= most:
            count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            raise self.refuse(
                f"{function} got {len(node.args) + len(node.keywords)} arguments.", f"Give it {count}, without names."
            )
        return Apply(function, tuple(self.read(argument, depth + 1) for argument in node.args))


def _terms(node: Node) -> tuple[Node, ...]:
    return node.arguments if isinstance(node, Apply) and node.function == "+" else (node,)


def _negate(node: Node) -> Node:
    """-x; a negative sum is the sum of negatives, which rounds alike."""
    match node:
        case Apply("+", arguments):
            return Apply("+", tuple(_negate(argument) for argument in arguments))
        case Apply("neg", (argument,)):
            return argument
        case Number(value):
            return Number(-value)
    return Apply("neg", (node,))
