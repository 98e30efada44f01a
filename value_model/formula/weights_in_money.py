"""A policy's weights in words: what one click, one order or one riyal of sales is worth."""

from __future__ import annotations

from value_model.formula.tree import Apply, Name, terms
from value_model.formula.units import Unit
from value_model.formula.value_policy import ValuePolicy


def weights_in_money(policy: ValuePolicy, *, surface: str | None = None, segment: str | None = None) -> dict[str, str]:
    """A sentence a weight, such as "one click is worth SAR 0.14"; weights that money cannot express are left out."""
    units, applied = policy.units(), policy.weights_for(surface=surface, segment=segment)
    multiplied = _multiplied(policy)
    sentences = {}
    for name, value in applied.items():
        subject = multiplied.get(name)
        sentence = _sentence(value, units[name], policy.currency, subject, units.get(subject or ""))
        if sentence is not None:
            sentences[name] = sentence
    return sentences


def _sentence(value: float, unit: Unit, currency: str, subject: str | None, of: Unit | None) -> str | None:
    counts = [base for base, power in unit.powers if power == -1.0]
    if unit.exponent(currency) == 1.0 and len(counts) == 1 and len(unit.powers) == 2:
        thing = f"one {counts[0]}"
        if counts == ["impression"] and subject is not None:
            thing = f"one impression at full {subject}"
        return f"{thing} is worth {_money(value, currency)}"
    if unit == Unit() and subject is not None and (of is None or of.money):
        return f"{currency} 1 of {subject} is worth {_money(value, currency)}"
    return None


def _money(value: float, currency: str) -> str:
    return f"{'-' if value < 0 else ''}{currency} {abs(value):.4g}"


def _multiplied(policy: ValuePolicy) -> dict[str, str]:
    """For every weight that only ever multiplies one name in a sum's term: that name."""
    subjects: dict[str, str] = {}
    for expression in policy.expressions:
        for term in terms(expression.tree):
            if isinstance(term, Apply) and term.function == "*":
                left, right = term.arguments
                if isinstance(left, Name) and isinstance(right, Name):
                    weight, other = (left.id, right.id) if left.id in policy.weight else (right.id, left.id)
                    if weight in policy.weight and other not in policy.weight:
                        subjects[weight] = other
    return subjects
