"""Units of measure: products of powers of named bases, such as SAR / click or order / impression.

A three-letter upper-case base is money (ISO 4217); every other base is a count (click, order, impression, point).
A unit of counts alone is a rate or a probability: a pure number to nonlinear functions. Money is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from marketplace.finding import Where
from value_model.formula.policy_error import refuse

PURE = ("1", "probability", "share", "number")
_TOKEN = re.compile(r"\s*(per\b|[A-Za-z_]+|\*|/|\^|-?\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Unit:
    """Sorted (base, exponent) pairs without zeros; () = a pure number."""

    powers: tuple[tuple[str, float], ...] = ()

    def __mul__(self, other: Unit) -> Unit:
        return _unit([*self.powers, *other.powers])

    def __truediv__(self, other: Unit) -> Unit:
        return self * other**-1

    def __pow__(self, exponent: float) -> Unit:
        return _unit([(base, power * exponent) for base, power in self.powers])

    @property
    def money(self) -> tuple[str, ...]:
        """The currencies in it."""
        return tuple(base for base, _ in self.powers if base.isupper())

    def exponent(self, base: str) -> float:
        return dict(self.powers).get(base, 0.0)

    def __str__(self) -> str:
        above = [_power(base, power) for base, power in self.powers if power > 0]
        below = [_power(base, -power) for base, power in self.powers if power < 0]
        return " / ".join([" * ".join(above) or "1", *below])


def _unit(powers: list[tuple[str, float]]) -> Unit:
    total: dict[str, float] = {}
    for base, power in powers:
        total[base] = total.get(base, 0.0) + power
    return Unit(tuple(sorted((base, power) for base, power in total.items() if power)))


def _power(base: str, power: float) -> str:
    return base if power == 1 else f"{base}^{power:g}"


def parse_unit(text: str, *, currency: str, where: Where) -> Unit:
    """ "SAR / click", "currency per order" (the policy's own), "order / impression", "SAR^0.5", "probability", "1"."""
    tokens = _tokens(text, where=where)
    unit, sign, i = Unit(), 1.0, 0
    while i < len(tokens):
        token = tokens[i]
        if token in ("*", "/", "per"):
            sign = 1.0 if token == "*" else -1.0
            i += 1
            continue
        power = 1.0
        if i + 2 < len(tokens) and tokens[i + 1] == "^":
            power = float(tokens[i + 2])
            i += 2
        base = currency if token == "currency" else token
        if base not in PURE:
            unit *= Unit(((base, sign * power),))
        i += 1
    return unit


def _tokens(text: str, *, where: Where) -> list[str]:
    tokens, at = [], 0
    stripped = text.strip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None:
            break
        tokens.append(match.group(1))
        at = match.end()
    if at < len(stripped) or not _alternates(tokens):
        raise refuse(
            "units", where, f"{text!r} is not a unit.", 'Write one such as "SAR / click", "order / impression" or "1".'
        )
    return tokens


def _alternates(tokens: list[str]) -> bool:
    """Whether the tokens read: base (^ number)? ((* | / | per) base (^ number)?)*."""
    kinds = "".join("o" if t in ("*", "/", "per") else "^" if t == "^" else "n" if _numeric(t) else "b" for t in tokens)
    spelled = re.fullmatch(r"[bn](\^n)?(o[bn](\^n)?)*", kinds)
    ones = all(t == "1" or tokens[i - 1] == "^" for i, t in enumerate(tokens) if _numeric(t) and (i or t != "1"))
    return spelled is not None and ones


def _numeric(token: str) -> bool:
    return token.lstrip("-")[:1].isdigit()
