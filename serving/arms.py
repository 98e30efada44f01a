"""Arms: what a variant changes of an engine: the value policy or the surfaces' recipes; the models are shared.

A variant may also mix another policy's slates with those of the policy in force (`serving.interleaving`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evaluation.experiments.interleaving import TurnRule
from serving.candidate_generation import CandidateGenerator
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


@dataclass(frozen=True, eq=False)
class ArmBuilder:
    """Makes the arms of one bundle, of a policy (interleaved or not) and of a file of recipes; raises BundleError."""

    policy: Callable[[ValuePolicy, TurnRule | None], PolicyArm]
    recipes: Callable[[Path], RecipeArm]


def variant_policy(file: Path) -> ValuePolicy:
    """The policy that a variant names: a file, or a shipped one; raises PolicyError, OSError."""
    return load_policy(file) if file.suffix == ".toml" else shipped_policy(file.name)
