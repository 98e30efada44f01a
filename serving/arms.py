"""Arms: what a variant changes of an engine: the value policy or the surfaces' recipes; the models are shared.

A variant may also mix another policy's slates with those of the policy in force (`serving.interleaving`), or answer
from another bundle, whose engine stands beside that of the bundle in force over the same log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from evaluation.experiments.interleaving import TurnRule
from marketplace.slate import Slate
from serving.candidate_generation import CandidateGenerator
from serving.deadline import Deadline
from serving.request import Request
from serving.service import Preview, Ranking
from serving.slate_selection import SlateSelector
from serving.valuation import Valuation
from value_model.formula import ValuePolicy, load_policy, shipped_policy


@dataclass(frozen=True, eq=False)
class PolicyArm:
    """The value policy, or two interleaved, of `version` over the bundle's models."""

    version: str
    valuation: Valuation
    slate_selector: SlateSelector


@dataclass(frozen=True, eq=False)
class RecipeArm:
    """The surfaces' recipes of `version` over the bundle's candidate sources."""

    version: str
    candidate_generator: CandidateGenerator


Arm = PolicyArm | RecipeArm


class BundleEngine(Protocol):
    """Answers the requests of a variant from another bundle."""

    def rank_under(self, request: Request, assigned: RequestVariants, deadline: Deadline) -> Ranking:
        """The slate of a request that is in these variants, after it is on record."""
        ...

    def preview_under(self, request: Request, assigned: RequestVariants, policy: ValuePolicy | None) -> Preview:
        """The same, under another `policy` if there is one, on record nowhere."""
        ...

    def explain(self, slate: Slate) -> Mapping[str, np.ndarray]: ...

    def read_log(self) -> None:
        """Learn at once what is on record."""
        ...

    @property
    def outgrown(self) -> bool: ...

    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class BundleArm:
    """Another bundle, whose slates are logged under `versions`."""

    versions: Mapping[str, str]
    engine: BundleEngine


@dataclass(frozen=True, eq=False)
class RequestVariants:
    """The request's variant in each experiment, the arms that answer it, and the experiments whose unit it lacks.

    `bundle`: that which answers in the stead of the bundle in force.
    """

    variants: Mapping[str, str] = field(default_factory=dict)
    arms: tuple[Arm, ...] = ()
    without_unit: tuple[str, ...] = ()
    bundle: BundleArm | None = None


NO_VARIANTS = RequestVariants()


@dataclass(frozen=True, eq=False)
class ArmBuilder:
    """Makes the arms of one bundle where a policy is `in_force`: of a policy, and of a file of recipes.

    `beside(in_force, policy, turns)` is the arm of a policy beside the one in force. All raise BundleError.
    """

    in_force: ValuePolicy
    beside: Callable[[ValuePolicy, ValuePolicy, TurnRule | None], PolicyArm]
    recipes: Callable[[Path], RecipeArm]

    def policy(self, policy: ValuePolicy, turns: TurnRule | None) -> PolicyArm:
        """The arm of a policy, interleaved with the one in force by `turns` (None = alone)."""
        return self.beside(self.in_force, policy, turns)

    def under(self, policy: ValuePolicy) -> ArmBuilder:
        """The same where another policy is in force."""
        return replace(self, in_force=policy)


def variant_policy(file: Path) -> ValuePolicy:
    """The policy that a variant names: a file, or a shipped one; raises PolicyError, OSError."""
    return load_policy(file) if file.suffix == ".toml" else shipped_policy(file.name)
