"""Policy changes: what differs between two policies, part by part, who owns each, and how two people's changes meet.

A part is a weight with its overrides, an expression, a quantity, a constraint by its subject, the [slate] section, or a
line of the file's head. Of three policies (base, theirs, ours) a part that one side alone changed is that side's; one
that both changed to different things is a conflict (diff3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from value_model.formula import Constraint, Expression, PolicyError, ValuePolicy, Weight, parse_policy, to_toml

PartKey = tuple[str, str]  # (kind, name)
HEAD = ("name", "owner", "reason", "currency", "unit", "result", "prior", "slate")
LISTED = {"weights": "name", "expressions": "name", "quantities": "name", "constraints": "subject"}


class MergeConflict(ValueError):
    """Two people changed the same parts; `changes` are both sides' of each."""

    def __init__(self, message: str, changes: Sequence[tuple[PolicyChange, PolicyChange]] = ()) -> None:
        super().__init__(message)
        self.changes = tuple(changes)


@dataclass(frozen=True)
class PolicyChange:
    """One part before and after; None = it is not there."""

    key: PartKey
    before: Any
    after: Any

    def owner(self, policy: ValuePolicy) -> str:
        """Who answers for the part in `policy`, as it was before the change; the file's owner for what is new."""
        return self.before.owner if isinstance(self.before, Weight | Constraint) else policy.owner

    def __str__(self) -> str:
        kind, name = self.key
        if self.before is None or self.after is None:
            return f"{name} {'added' if self.before is None else 'removed'}"
        if kind == "head":
            return name if name == "slate" else f"{name} {_text(self.before)} -> {_text(self.after)}"
        compared = (field.name for field in fields(self.before) if field.compare)
        pairs = {line: (getattr(self.before, line), getattr(self.after, line)) for line in compared}
        moved = {line: pair for line, pair in pairs.items() if pair[0] != pair[1]}
        shown = {line: pair for line, pair in moved.items() if line != "reason"} or moved
        return ", ".join(
            f"{name}{'' if line == 'value' else f' {line}'} {_text(old)} -> {_text(new)}"
            for line, (old, new) in shown.items()
        )


def parts(policy: ValuePolicy) -> dict[PartKey, Any]:
    """Every part of a policy, in the file's order."""
    head = {("head", name): getattr(policy, name) for name in HEAD}
    listed = {(kind, getattr(part, key)): part for kind, key in LISTED.items() for part in getattr(policy, kind)}
    return head | listed


def changes(before: ValuePolicy, after: ValuePolicy) -> tuple[PolicyChange, ...]:
    """What `after` has otherwise than `before`."""
    old, new = parts(before), parts(after)
    return tuple(
        PolicyChange(key, old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)
    )


def owners(before: ValuePolicy, after: ValuePolicy) -> dict[str, tuple[str, ...]]:
    """By owner, what of theirs changes: whose agreement the new policy needs."""
    parts_of: dict[str, list[str]] = {}
    for change in changes(before, after):
        parts_of.setdefault(change.owner(before), []).append(str(change))
    return {owner: tuple(lines) for owner, lines in parts_of.items()}


def merged(base: ValuePolicy, theirs: ValuePolicy, ours: ValuePolicy) -> ValuePolicy:
    """`theirs` with what `ours` changed of `base`; raises MergeConflict where both changed the same parts."""
    their_changes = {change.key: change for change in changes(base, theirs)}
    our_changes = {change.key: change for change in changes(base, ours)}
    both = [(their_changes[key], our_changes[key]) for key in their_changes.keys() & our_changes.keys()]
    if clashing := [pair for pair in both if pair[0].after != pair[1].after]:
        said = "; ".join(sorted(f"theirs: {their} / yours: {our}" for their, our in clashing))
        raise MergeConflict(f"both changed the same: {said}", clashing)
    kept = {key: None for kind in ("head", *LISTED) for key in _order(kind, base, theirs, ours)}
    kept |= parts(ours) | parts(theirs) | {key: change.after for key, change in our_changes.items()}
    gone = {key for key, change in {**their_changes, **our_changes}.items() if change.after is None}
    together = _assembled({key: part for key, part in kept.items() if key not in gone})
    try:
        return parse_policy(to_toml(together), file="the merged policy")
    except PolicyError as error:
        raise MergeConflict(f"the changes do not go together: {error}") from error


def _order(kind: str, base: ValuePolicy, theirs: ValuePolicy, ours: ValuePolicy) -> list[PartKey]:
    """The parts of one kind as the side lists them that added some: an expression stands below those that it uses."""
    old, their_keys, our_keys = ([key for key in parts(p) if key[0] == kind] for p in (base, theirs, ours))
    return [*their_keys, *our_keys] if set(their_keys) - set(old) else [*our_keys, *their_keys]


def _assembled(kept: Mapping[PartKey, Any]) -> ValuePolicy:
    everything = {name: kept["head", name] for name in HEAD}
    everything |= {kind: tuple(part for (of, _), part in kept.items() if of == kind) for kind in LISTED}
    return ValuePolicy(**everything)


def _text(part: Any) -> str:
    match part:
        case float():
            return f"{part:g}"
        case tuple():
            return ", ".join(f"{o.key} {o.value:g}" for o in part) or "none"
        case Expression():
            return part.source
    return "nothing" if part is None else str(part)
