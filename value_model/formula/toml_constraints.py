"""Reads the [[constraints]] of a policy file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from marketplace.toml_text import KeyPath, label
from value_model.formula.constraint import Constraint, Of

if TYPE_CHECKING:
    from value_model.formula.toml_reader import Reader

_FIELDS = {"metric", "at_least", "at_most", "of", "confidence", "owner", "reason"}
_EXAMPLE = 'metric = "ctr", at_least = -0.01, of = "relative", reason = "..."'


def read_constraints(reader: Reader, section: Any) -> tuple[Constraint, ...]:
    """Those that can be read; mistakes go to the reader's findings."""
    if not isinstance(section, list):
        reader.complain(("constraints",), f"constraints is {section!r:.40}.", "Write [[constraints]], once for each.")
        return ()
    found = (_constraint(reader, ("constraints", i), fields) for i, fields in enumerate(section))
    return tuple(constraint for constraint in found if constraint is not None)


def _constraint(reader: Reader, path: KeyPath, section: Any) -> Constraint | None:
    fields = reader.fields(path, section, _FIELDS, _EXAMPLE)
    sides = [side for side in ("at_least", "at_most") if side in fields]
    if len(sides) != 1:
        got = " and ".join(sides) or "neither"
        reader.complain(path, f"{label(path)} has {got} of at_least and at_most.", "Write one of them.")
        return None
    confidence = reader.number(path, fields, "confidence", default=0.95)
    if not 0.5 <= confidence < 1:
        reader.complain((*path, "confidence"), f"confidence is {confidence:g}.", "Write 0.5 to below 1.")
        confidence = 0.95
    return Constraint(
        reader.text(path, fields, "metric"),
        **{sides[0]: reader.number(path, fields, sides[0])},
        of=_of(reader, path, fields),
        confidence=confidence,
        owner=reader.text(path, fields, "owner", default=reader.content.get("owner")),
        reason=reader.text(path, fields, "reason"),
        where=reader.where(*path, "metric"),
    )


def _of(reader: Reader, path: KeyPath, fields: dict[str, Any]) -> Of:
    value = fields.get("of", "level")
    if value not in list(Of):
        reader.complain((*path, "of"), f"of is {value!r:.40}.", f"Write one of {', '.join(Of)}.")
        return Of.LEVEL
    return Of(value)
