"""The policy file: its tables and fields, as pydantic models. An override is a number, or { value, evidence }."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from marketplace.finding import FieldError, nearest
from marketplace.toml_model import CurrencyCode, Fix
from value_model.formula.constraint import BoundKind
from value_model.formula.quantities import Sign
from value_model.formula.slate_table import Number, SlateField

Text = Annotated[str, Field(pattern=r"\S")]
SignField = Annotated[Sign, Fix('Write sign = "+", "-" or "any".')]


def _usable(name: str) -> str:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
        raise FieldError("cannot be used in a formula", "Use letters, digits and _.")
    return name


Name = Annotated[str, AfterValidator(_usable)]


class OverrideTable(BaseModel):
    """One surface's or segment's own weight."""

    model_config = ConfigDict(json_schema_extra={"fix": "Write a finite number, or { value = 0.2, evidence = 300 }."})

    value: Number
    evidence: Number | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, entry: Any) -> Any:
        return entry if isinstance(entry, dict) else {"value": entry}


class WeightTable(BaseModel):
    """[weights.w_...]; without an owner it is the policy's."""

    value: Number
    unit: Text
    low: Number
    high: Number
    owner: Text | None = None
    reason: Text
    sign: SignField = Sign.ANY
    term: bool = True
    neutral: Number = 0.0
    surface: dict[str, OverrideTable] = {}
    segment: dict[str, OverrideTable] = {}


class QuantityTable(BaseModel):
    """[quantities.NAME]."""

    unit: Text
    low: Number
    high: Number
    sign: SignField = Sign.ANY
    meaning: Text = ""
    head: bool = False
    missing: Number | None = None


class ConstraintTable(BaseModel):
    """[[constraints]]; without an owner it is the policy's."""

    metric: Text
    at_least: Number | None = None
    at_most: Number | None = None
    of: BoundKind = BoundKind.LEVEL
    confidence: Annotated[float, Field(ge=0.5, lt=1), Fix("Write 0.5 to below 1.")] = 0.95
    owner: Text | None = None
    reason: Text

    @model_validator(mode="after")
    def _one_side(self) -> ConstraintTable:
        sides = [side for side in ("at_least", "at_most") if getattr(self, side) is not None]
        if len(sides) != 1:
            raise FieldError(f"has {' and '.join(sides) or 'neither of at_least and at_most'}", "Write one of them.")
        return self


class PolicyFile(BaseModel):
    """The whole file."""

    name: Text
    owner: Text
    reason: Text
    currency: CurrencyCode
    unit: Text
    result: Text = "value"
    prior: Number = 10_000.0
    expressions: dict[Name, str] = {}
    weights: dict[Name, WeightTable] = {}
    quantities: dict[Name, QuantityTable] = {}
    slate: SlateField | None = None
    constraints: Annotated[list[ConstraintTable], Fix("Write [[constraints]], once for each.")] = []

    @field_validator("slate")
    @classmethod
    def _perturbs_weights_of_the_file(cls, slate: SlateField | None, file: ValidationInfo) -> SlateField | None:
        known = file.data.get("weights")
        if known is not None and slate is not None and slate.perturbed_weights is not None:
            for name in slate.perturbed_weights.names:
                if name not in known:
                    raise FieldError(f"perturbs {name!r}, no weight", nearest(name, list(known)), key="exploration")
        return slate
