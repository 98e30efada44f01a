"""Experiment: a reviewed TOML file that says who tries what on whom, what must not be lost, and when it stops.

Shares and relative changes are fractions (0.02 = 2 %), times have a zone, and what is measured are the names of
`evaluation.experiments.metrics`. The control is what is in force: the other variants name what they change of it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from evaluation.experiments.interleaving import TurnRule
from evaluation.experiments.metrics import EXPERIMENT_METRICS
from marketplace.finding import FieldError, nearest
from marketplace.schema import SURFACES
from marketplace.toml_model import Fix, as_model
from marketplace.toml_text import parse_toml

LAYER_OF_POLICIES = "value"
EXACT = 1e-9  # of shares that must add up
STEPS = (0.01, 0.05, 0.1, 0.25, 0.5)

Name = Annotated[
    str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$"), Fix("Write small letters, digits, _ and -, 64 at most.")
]
Text = Annotated[str, Field(pattern=r"\S", max_length=2000)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), Fix("Write a share of 0 to 1.")]
FilePath = Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,200}$")]
BundleName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"),
    Fix('Write the name of a bundle\'s folder beside the one in force, such as bundle = "2".'),
]


class AssignmentUnit(StrEnum):
    """What is drawn into a variant as a whole: a shopper, a visit, a store page, or a city for a window of time."""

    USER = "user"
    SESSION = "session"
    MERCHANT = "merchant"
    CITY_TIME = "city_time"


class StopRule(StrEnum):
    """When the answer is read: once at the end, at any time (by either of two tests), or at planned looks."""

    FIXED_HORIZON = "fixed_horizon"
    ALWAYS_VALID = "always_valid"
    MIXTURE = "mixture"
    GROUP_SEQUENTIAL = "group_sequential"


ANY_TIME = (StopRule.ALWAYS_VALID, StopRule.MIXTURE)


@dataclass(frozen=True)
class TrafficLayer:
    """The part [`low`, `high`) of a layer's units. Experiments of one layer exclude each other by disjoint parts.

    Layers are independent: their units are drawn by `salt`, the layer's name where it is empty.
    """

    name: Name = LAYER_OF_POLICIES
    salt: str = ""
    low: Share = 0.0
    high: Share = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise FieldError(f"has the part {self.low:g} to {self.high:g}", "Write low below high.", key="low")

    def shares_units(self, other: TrafficLayer) -> bool:
        """Whether a unit can be in both parts of one layer."""
        return self.name == other.name and self.low < other.high and other.low < self.high


@dataclass(frozen=True)
class Variant:
    """A `share` of the experiment's units, with another value policy, surface recipes or bundle than are in force.

    `policy`: the name of a shipped one, or a file, .toml; `surfaces`: a file of recipes. Paths are from its folder.
    `interleave`: slates of the policy are mixed with those of the one in force, in one list by this rule of turns.
    `bundle`: the name of one beside that in force.
    """

    name: Name
    share: Share
    policy: FilePath | None = None
    surfaces: FilePath | None = None
    interleave: TurnRule | None = None
    bundle: BundleName | None = None

    def __post_init__(self) -> None:
        if self.bundle is not None and (self.policy or self.surfaces):
            fix = "Leave policy and surfaces out, or write a bundle that has them (`value-model publish` makes one)."
            raise FieldError(f"names the bundle {self.bundle!r}, which brings its own", fix, key="bundle")
        if self.interleave is not None and (self.policy is None or self.surfaces is not None):
            fix = "Give the variant a policy and no recipes: two policies over the same candidates are mixed."
            raise FieldError(f"interleaves {self.surfaces or 'no policy'}", fix, key="interleave")
        for key, path in (("policy", self.policy), ("surfaces", self.surfaces)):
            if path is not None and (Path(path).is_absolute() or ".." in Path(path).parts):
                fix = 'Write a path from the experiment\'s folder, such as "policies/mine.toml".'
                raise FieldError(f"names the {key} {path!r}, which leaves the experiment's folder", fix, key=key)

    @property
    def as_in_force(self) -> bool:
        """Whether it changes nothing."""
        return self.policy is None and self.surfaces is None and self.bundle is None


def _known(metric: str, *, key: str) -> None:
    if metric not in EXPERIMENT_METRICS:
        raise FieldError(f"names {metric!r}, no metric", nearest(metric, sorted(EXPERIMENT_METRICS)), key=key)


@dataclass(frozen=True)
class ExperimentMetrics:
    """What decides (`primary`), the least relative change of it worth finding, and what else is read."""

    primary: str
    minimum_effect: Annotated[float, Field(gt=0, le=10), Fix("Write a relative change, such as 0.02.")]
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _known(self.primary, key="primary")
        for name in self.also:
            _known(name, key="also")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.primary, *self.also)))


@dataclass(frozen=True)
class ExperimentGuardrail:
    """The change of a metric against the control, relative to it, that no variant may leave."""

    metric: str
    at_least: Annotated[float, Field(ge=-1, allow_inf_nan=False), Fix("Write -0.02 for a loss of 2 %.")] | None = None
    at_most: Annotated[float, Field(ge=-1, allow_inf_nan=False), Fix("Write 0.02 for a rise of 2 %.")] | None = None

    def __post_init__(self) -> None:
        _known(self.metric, key="metric")
        if (self.at_least is None) == (self.at_most is None):
            number = "neither" if self.at_least is None else "both"
            fix = "Write one: at_least = -0.02 where more is better, at_most = 0.02 where less is."
            raise FieldError(f"has {number} of at_least and at_most", fix, key="metric")

    @property
    def sign(self) -> int:
        """+1 where more is better, -1 where less is."""
        return 1 if self.at_least is not None else -1

    @property
    def bound(self) -> float:
        """The relative change at which it is broken."""
        return self.at_least if self.at_least is not None else self.at_most  # type: ignore[return-value]

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.sign > 0 else '<='} {self.bound:+.1%}"


@dataclass(frozen=True)
class Stopping:
    """The rule, its error rates, and the number of looks where they are planned."""

    rule: StopRule = StopRule.ALWAYS_VALID
    alpha: Annotated[float, Field(gt=0, lt=0.5), Fix("Write alpha = 0.05 or so.")] = 0.05
    power: Annotated[float, Field(gt=0.5, lt=1), Fix("Write power = 0.8 or so.")] = 0.8
    looks: Annotated[int, Field(ge=1, le=100), Fix("Write a number of looks, 1 to 100.")] = 5


@dataclass(frozen=True)
class Ramp:
    """Shares of the layer's part that get a change, rising; a step lasts `hours` at least.

    `risk`: the loss of a guardrail's metric, relative to the whole part's level, that the next step may cost at worst.
    """

    steps: Annotated[tuple[Share, ...], Field(min_length=1, max_length=20)] = STEPS
    hours: Annotated[float, Field(ge=0, le=10_000), Fix("Write hours = 24 or so.")] = 24.0
    risk: Annotated[float, Field(ge=0, le=1), Fix("Write risk = 0.01 or so.")] = 0.01

    def __post_init__(self) -> None:
        if self.steps[0] <= 0 or any(later <= earlier for earlier, later in pairwise(self.steps)):
            raise FieldError(f"has the steps {list(self.steps)}", "Write rising shares above 0.", key="steps")


@dataclass(frozen=True)
class Experiment:
    """One experiment; it runs for `days` from `start`, on `surfaces` (empty = all).

    `holdout`: the share of all units that no experiment with a holdout touches. `window_hours`: how long a city keeps
    its variant, where the unit is city_time.
    """

    name: Name
    hypothesis: Text
    owner: Text
    start: Annotated[AwareDatetime, Fix("Write start = 2026-12-01T00:00:00Z, with a zone.")]
    days: Annotated[float, Field(gt=0, le=730), Fix("Write a number of days, such as 28.")]
    control: Name
    variants: Annotated[
        tuple[Variant, ...], Field(min_length=2, max_length=20), Fix("Write [[variants]], two or more.")
    ]
    metrics: ExperimentMetrics
    guardrails: Annotated[tuple[ExperimentGuardrail, ...], Fix("Write [[guardrails]], once for each.")] = ()
    unit: AssignmentUnit = AssignmentUnit.USER
    layer: TrafficLayer = field(default_factory=TrafficLayer)
    surfaces: tuple[Literal[SURFACES], ...] = ()  # type: ignore[valid-type]
    holdout: Share = 0.0
    window_hours: Annotated[float, Field(gt=0, le=10_000), Fix("Write window_hours = 24 or so.")] = 24.0
    stop: Stopping = field(default_factory=Stopping)
    ramp: Ramp = field(default_factory=Ramp)

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise FieldError(f"has the variants {names}", "Give each a name of its own.", key="variants")
        if self.control not in names:
            fix = nearest(self.control, names)
            raise FieldError(f"has the control {self.control!r}, no variant", fix, key="control")
        if not self[self.control].as_in_force:
            fix = "The control is what is in force: publish that first, or leave policy, surfaces and bundle out."
            raise FieldError(f"has the control {self.control!r}, which changes something", fix, key="control")
        total = sum(variant.share for variant in self.variants)
        if abs(total - 1) > EXACT:
            raise FieldError(f"has variants whose shares sum to {total:.6g}", "Make them 1.", key="variants")
        if any(variant.share == 0 for variant in self.variants):
            raise FieldError("has a variant of share 0", "Give it a share, or leave it out.", key="variants")
        if self.ramp.steps[-1] > self.treated + EXACT:
            fix = f"The last step is {self.treated:g} at most: the rest of the units is the control's."
            raise FieldError(f"has a ramp to {self.ramp.steps[-1]:g}", fix, key="ramp")

    def __getitem__(self, variant: str) -> Variant:
        return next(one for one in self.variants if one.name == variant)

    @property
    def treated(self) -> float:
        """The share of the variants that are not the control: what is treated when every unit takes part."""
        return 1.0 - self[self.control].share

    @property
    def treatments(self) -> tuple[Variant, ...]:
        return tuple(variant for variant in self.variants if variant.name != self.control)

    @property
    def end(self) -> datetime:
        return self.start + timedelta(days=self.days)

    @property
    def version(self) -> str:
        """Hash of all that the file says."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, default=str).encode()).hexdigest()[:12]

    def exposure(self, step: int) -> float:
        """The share of the layer's part that takes part at ramp step `step`: that of the treated / their share."""
        return min(1.0, self.ramp.steps[step] / self.treated)


def parse_experiment(content: bytes | str, *, file: str = "experiment.toml") -> Experiment:
    """The experiment of a TOML text; raises DataError with every finding, its line, and what to write instead."""
    return as_model(parse_toml(content, file=file), Experiment)


def load_experiment(path: Path | str) -> Experiment:
    """The experiment of a TOML file; raises DataError, OSError where it cannot be read."""
    return parse_experiment(Path(path).read_bytes(), file=str(path))
