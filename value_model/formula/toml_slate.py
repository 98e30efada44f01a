"""Reads the [slate] section."""

from __future__ import annotations

from dataclasses import fields as fields_of
from typing import TYPE_CHECKING, Any

from value_model.formula.slate_section import (
    AMOUNT,
    MOST_PERTURBED,
    DiversityKind,
    DiversitySection,
    ExplorationKind,
    ExplorationSection,
    ExposureSection,
    SlateSection,
)

if TYPE_CHECKING:
    from value_model.formula.toml_section import TomlSection

_PARTS = ("merchant", "category", "embedding")
_SLATE = ("slate",)


def read_slate(reader: TomlSection, section: Any) -> SlateSection:
    """The section; mistakes go to the reader's findings."""
    fields = reader.fields(_SLATE, section, {field.name for field in fields_of(SlateSection)}, "")
    return SlateSection(
        merchant_cap=_count(reader, fields, "merchant_cap", least=1),
        category_cap=_count(reader, fields, "category_cap", least=1),
        newcomers=_count(reader, fields, "newcomers", least=0) or 0,
        diversity=_diversity(reader, fields.get("diversity")),
        exploration=_exploration(reader, fields.get("exploration")),
        exposure=_exposure(reader, fields.get("exposure")),
    )


def _count(reader: TomlSection, fields: dict[str, Any], key: str, *, least: int) -> int | None:
    value = fields.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        reader.complain((*_SLATE, key), f"slate.{key} is {value!r:.40}.", f"Write a whole number, {least} or more.")
        return None
    return value


def _diversity(reader: TomlSection, section: Any) -> DiversitySection | None:
    if section is None:
        return None
    path = (*_SLATE, "diversity")
    fields = reader.fields(path, section, {"kind", "strength", *_PARTS}, 'kind = "mmr", strength = 0.004, merchant = 1')
    kind = _kind(reader, path, fields, DiversityKind)
    strength = reader.number(path, fields, "strength")
    merchant, category, embedding = (reader.number(path, fields, part, default=0.0) for part in _PARTS)
    if strength < 0:
        reader.complain(path, f"diversity's strength is {strength:g}.", "Write 0 or more, in the policy's unit.")
    if min(merchant, category, embedding) < 0 or abs(merchant + category + embedding - 1) > 1e-9:
        reader.complain(path, "the parts of diversity's likeness do not sum to 1.", "Write such as merchant = 1.0.")
    return DiversitySection(DiversityKind(kind), strength, merchant, category, embedding)


def _exploration(reader: TomlSection, section: Any) -> ExplorationSection | None:
    if section is None:
        return None
    path = (*_SLATE, "exploration")
    allowed = {"kind", "weights", *AMOUNT.values()}
    fields = reader.fields(path, section, allowed, 'kind = "plackett_luce", temperature = 0.002')
    kind = ExplorationKind(_kind(reader, path, fields, ExplorationKind))
    amount = reader.number(path, fields, AMOUNT[kind])
    most = {ExplorationKind.EPSILON: 1.0, ExplorationKind.PERTURBED_WEIGHTS: 2.0}.get(kind, float("inf"))
    if not 0 < amount <= most:
        reader.complain(
            path, f"exploration's {AMOUNT[kind]} is {amount:g}.", f"Write a number above 0, at most {most:g}."
        )
    return ExplorationSection(kind, amount, _weights(reader, path, fields, kind))


def _weights(
    reader: TomlSection, path: tuple[str, ...], fields: dict[str, Any], kind: ExplorationKind
) -> tuple[str, ...]:
    listed = fields.get("weights", [])
    known = reader.content.get("weights", {})
    perturbed = kind is ExplorationKind.PERTURBED_WEIGHTS
    named = isinstance(listed, list) and all(name in tuple(known) for name in listed)
    if not named or bool(listed) != perturbed or not len(set(listed)) == len(listed) <= MOST_PERTURBED:
        fix = (
            f"List at most {MOST_PERTURBED} different weights among {', '.join(known)}."
            if perturbed
            else "Leave weights out: only perturbation uses them."
        )
        reader.complain(path, f"exploration's weights are {listed!r:.60}.", fix)
        return ()
    return tuple(listed)


def _exposure(reader: TomlSection, section: Any) -> ExposureSection | None:
    if section is None:
        return None
    path = (*_SLATE, "exposure")
    example = 'guaranteed = { "m12" = 0.05 }, rate = 0.001, highest_price = 0.02'
    fields = reader.fields(path, section, {field.name for field in fields_of(ExposureSection)}, example)
    promised = (*path, "guaranteed")
    table = reader.fields(promised, fields.get("guaranteed", {}), None, '"m12" = 0.05')
    guaranteed = tuple((name, reader.number(promised, table, name)) for name in sorted(table))
    fair = reader.number(path, fields, "fair", default=0.0)
    shares = [fair, *(share for _, share in guaranteed)]
    if min(shares) < 0 or not 0 < sum(shares) <= 1 + 1e-9:
        reason = f"exposure's guaranteed shares and fair sum to {sum(shares):g}."
        reader.complain(path, reason, "Promise shares of 0 or more that sum to more than 0 and at most 1.")
    rate, highest = (reader.number(path, fields, name) for name in ("rate", "highest_price"))
    if min(rate, highest) <= 0:
        reason = f"exposure's rate is {rate:g} and its highest_price {highest:g}."
        reader.complain(path, reason, "Write numbers above 0, in the policy's unit.")
    return ExposureSection(rate, highest, guaranteed, fair)


def _kind(
    reader: TomlSection, path: tuple[str, ...], fields: dict[str, Any], kinds: type[DiversityKind | ExplorationKind]
) -> str:
    kind = fields.get("kind")
    if kind not in list(kinds):
        reader.complain(path, f"kind is {kind!r:.40}.", f"Write one of {', '.join(kinds)}.")
        return next(iter(kinds))
    return str(kind)
