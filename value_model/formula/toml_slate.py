"""Reads the [slate] section."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from value_model.slate_policies.diversity import DIVERSITIES, Diversity, Similarity
from value_model.slate_policies.perturbed_weights import MOST_PERTURBED, PerturbedWeights
from value_model.slate_policies.rules import RULES
from value_model.slate_policies.shadow_prices import ExposurePromises
from value_model.slate_policies.slate_rule import SlateRule
from value_model.slate_policies.slate_section import EXPLORATIONS, Exploration, SlateSection

if TYPE_CHECKING:
    from value_model.formula.toml_section import TomlSection

_SLATE = ("slate",)
_PARTS = ("diversity", "exploration", "exposure")
_LIKENESS = ("merchant", "category", "embedding")


def read_slate(reader: TomlSection, section: Any) -> SlateSection:
    """The section; mistakes go to the reader's findings."""
    fields = reader.fields(_SLATE, section, {*_PARTS, *(rule.key for rule in RULES)}, RULES[0].example)
    rules = (_rule(reader, rule, fields[rule.key]) for rule in RULES if rule.key in fields)
    return SlateSection(
        rules=tuple(rule for rule in rules if rule is not None),
        diversity=_diversity(reader, fields.get("diversity")),
        exploration=_exploration(reader, fields.get("exploration")),
        exposure=_exposure(reader, fields.get("exposure")),
    )


def _rule(reader: TomlSection, rule: type[SlateRule], entry: Any) -> SlateRule | None:
    try:
        return rule.from_toml(entry)
    except ValueError as error:
        reader.complain((*_SLATE, rule.key), f"slate.{rule.key} is {entry!r:.40}.", str(error))
        return None


def _diversity(reader: TomlSection, section: Any) -> Diversity | None:
    if section is None:
        return None
    path = (*_SLATE, "diversity")
    example = 'kind = "mmr", strength = 0.004, merchant = 1'
    fields = reader.fields(path, section, {"kind", "strength", *_LIKENESS}, example)
    kind = _kind(reader, path, fields, DIVERSITIES)
    strength = reader.number(path, fields, "strength")
    likeness = [reader.number(path, fields, part, default=0.0) for part in _LIKENESS]
    if strength < 0:
        reader.complain(path, f"diversity's strength is {strength:g}.", "Write 0 or more, in the policy's unit.")
    try:
        return DIVERSITIES[kind](strength, Similarity(*likeness))
    except ValueError:
        reader.complain(path, "the parts of diversity's likeness do not sum to 1.", "Write such as merchant = 1.0.")
        return None


def _exploration(reader: TomlSection, section: Any) -> Exploration | None:
    if section is None:
        return None
    path = (*_SLATE, "exploration")
    allowed = {"kind", "weights", *(exploration.amount for exploration in EXPLORATIONS.values())}
    fields = reader.fields(path, section, allowed, 'kind = "plackett_luce", temperature = 0.002')
    kind = EXPLORATIONS[_kind(reader, path, fields, EXPLORATIONS)]
    amount, weights = reader.number(path, fields, kind.amount), _weights(reader, path, fields, kind)
    if not 0 < amount <= kind.most:
        fix = f"Write a number above 0, at most {kind.most:g}."
        reader.complain(path, f"exploration's {kind.amount} is {amount:g}.", fix)
        return None
    if kind is PerturbedWeights:
        return PerturbedWeights(amount, weights) if weights else None
    return kind(amount)  # type: ignore[call-arg]


def _weights(
    reader: TomlSection, path: tuple[str, ...], fields: dict[str, Any], kind: type[Exploration]
) -> tuple[str, ...]:
    listed = fields.get("weights", [])
    known = reader.content.get("weights", {})
    perturbed = kind is PerturbedWeights
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


def _exposure(reader: TomlSection, section: Any) -> ExposurePromises | None:
    if section is None:
        return None
    path = (*_SLATE, "exposure")
    example = 'guaranteed = { "m12" = 0.05 }, rate = 0.001, highest_price = 0.02'
    fields = reader.fields(path, section, {"guaranteed", "fair", "rate", "highest_price"}, example)
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
    return ExposurePromises(rate, highest, guaranteed, fair)


def _kind(reader: TomlSection, path: tuple[str, ...], fields: dict[str, Any], kinds: Collection[str]) -> str:
    kind = fields.get("kind")
    if kind not in list(kinds):
        reader.complain(path, f"kind is {kind!r:.40}.", f"Write one of {', '.join(kinds)}.")
        return next(iter(kinds))
    return str(kind)
