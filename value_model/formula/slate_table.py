"""The policy file's [slate] table, as pydantic models whose checked values are the section's parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, GetPydanticSchema, ValidationInfo, create_model
from pydantic_core import PydanticKnownError

from marketplace.finding import FieldError
from marketplace.toml_model import Fix
from value_model.slate_policies.diversity import DIVERSITIES, Diversity, Similarity
from value_model.slate_policies.perturbed_weights import MOST_PERTURBED, PerturbedWeights
from value_model.slate_policies.rules import RULES
from value_model.slate_policies.shadow_prices import ExposurePromises
from value_model.slate_policies.slate_rule import SlateRule
from value_model.slate_policies.slate_section import EXPLORATIONS, Exploration, SlateSection

Number = Annotated[float, Field(allow_inf_nan=False)]


def written_as(table: type[BaseModel], part: Callable[[Any], Any]) -> GetPydanticSchema:
    """Annotation of a class that stands in the file as `table`, of whose checked fields `part` makes it."""
    return GetPydanticSchema(lambda _, handler: handler(Annotated[table, AfterValidator(part)]))


def one_of(kinds: Iterable[str]) -> Any:
    """A text that is one of the kinds."""
    return Field(pattern=f"^({'|'.join(kinds)})$", json_schema_extra={"fix": f"Write one of {', '.join(kinds)}."})


class DiversityTable(BaseModel):
    """slate.diversity: kind, strength and the parts of likeness."""

    kind: Annotated[str, one_of(DIVERSITIES)]
    strength: Annotated[Number, Field(ge=0), Fix("Write strength = 0 or more, in the policy's unit.")]
    merchant: Number = 0.0
    category: Number = 0.0
    embedding: Number = 0.0

    def diversity(self) -> Diversity:
        try:
            likeness = Similarity(self.merchant, self.category, self.embedding)
        except ValueError as error:
            reason = f"has merchant {self.merchant:g}, category {self.category:g} and embedding {self.embedding:g}"
            raise FieldError(reason, "Write parts of likeness of 0 or more that sum to 1.") from error
        return DIVERSITIES[self.kind](self.strength, likeness)


class _AnyExploration(BaseModel):
    kind: Annotated[str, one_of(EXPLORATIONS)]
    weights: list[str] = []

    def exploration(self) -> Exploration:
        kind = EXPLORATIONS[self.kind]
        amount = getattr(self, kind.amount)
        if kind is not PerturbedWeights and self.weights:
            raise FieldError(f"has weights = {self.weights!r:.60}", "Leave weights out: only perturbation uses them.")
        if kind is not PerturbedWeights:
            return kind(amount)  # type: ignore[call-arg]
        try:
            return PerturbedWeights(amount, tuple(self.weights))
        except ValueError as error:
            fix = f"List at most {MOST_PERTURBED} different weights among those of [weights]."
            raise FieldError(f"has weights = {self.weights!r:.60}", fix) from error


def _needed_by_its_kind(amount: float | None, table: ValidationInfo) -> float | None:
    kind = EXPLORATIONS.get(table.data.get("kind", ""))
    if amount is None and kind is not None and kind.amount == table.field_name:
        raise PydanticKnownError("missing")
    return amount


def _amount(kind: type[Exploration]) -> Any:
    most = f", at most {kind.most:g}" if math.isfinite(kind.most) else ""
    fix = Fix(f"Write {kind.amount} = a number above 0{most}.")
    number = Annotated[float, Field(gt=0, le=kind.most, allow_inf_nan=False), fix]
    return Annotated[number | None, AfterValidator(_needed_by_its_kind), Field(validate_default=True)], None


# slate.exploration: a kind and its amount.
ExplorationTable = create_model(  # type: ignore[call-overload]
    "ExplorationTable", __base__=_AnyExploration, **{kind.amount: _amount(kind) for kind in EXPLORATIONS.values()}
)


class ExposureTable(BaseModel):
    """slate.exposure: shares that are promised, and how their prices move."""

    guaranteed: dict[str, Number] = {}
    fair: Number = 0.0
    rate: Number
    highest_price: Number

    def promises(self) -> ExposurePromises:
        shares = [self.fair, *self.guaranteed.values()]
        if min(shares) < 0 or not 0 < sum(shares) <= 1 + 1e-9:
            fix = "Promise shares of 0 or more that sum to more than 0 and at most 1."
            raise FieldError(f"has guaranteed shares and fair that sum to {sum(shares):g}", fix)
        if min(self.rate, self.highest_price) <= 0:
            reason = f"has rate {self.rate:g} and highest_price {self.highest_price:g}"
            raise FieldError(reason, "Write numbers above 0, in the policy's unit.")
        return ExposurePromises(self.rate, self.highest_price, tuple(sorted(self.guaranteed.items())), self.fair)


class _SlateParts(BaseModel):
    diversity: Annotated[Diversity, written_as(DiversityTable, DiversityTable.diversity)] | None = None
    exploration: Annotated[Exploration, written_as(ExplorationTable, _AnyExploration.exploration)] | None = None
    exposure: Annotated[ExposurePromises, written_as(ExposureTable, ExposureTable.promises)] | None = None

    def section(self) -> SlateSection:
        rules = (getattr(self, rule.key) for rule in RULES)
        return SlateSection(
            tuple(rule for rule in rules if rule is not None), self.diversity, self.exploration, self.exposure
        )


def _entry(rule: type[SlateRule]) -> Any:
    def read(entry: Any) -> SlateRule | None:
        try:
            return rule.from_toml(entry)
        except ValueError as error:
            raise FieldError(f"is {entry!r:.40}", str(error)) from error

    return Annotated[Any, AfterValidator(read)], None


# [slate]: an entry a rule, and the parts.
SlateTable = create_model(  # type: ignore[call-overload]
    "SlateTable", __base__=_SlateParts, **{rule.key: _entry(rule) for rule in RULES}
)
SlateField = Annotated[SlateSection, written_as(SlateTable, _SlateParts.section)]
