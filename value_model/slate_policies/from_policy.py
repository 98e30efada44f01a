"""From a value policy's [slate] section to the slate policy that serves it."""

from __future__ import annotations

from value_model.formula.slate_section import DiversityKind, DiversitySection, ExplorationKind, ExplorationSection
from value_model.formula.value_policy import ValuePolicy
from value_model.slate_policies.diversity import DPP, MMR, Diversity, Similarity
from value_model.slate_policies.epsilon_greedy import EpsilonGreedy
from value_model.slate_policies.perturbed_weights import PerturbedWeights
from value_model.slate_policies.plackett_luce import PlackettLuce
from value_model.slate_policies.rules import Rules
from value_model.slate_policies.sequential import SequentialSlate
from value_model.slate_policies.slate_policy import Greedy, SlatePolicy

Picker = Greedy | PlackettLuce | EpsilonGreedy


def slate_policy(policy: ValuePolicy) -> SlatePolicy:
    """The section's policy, greedy where there is none; shadow prices of its exposure are added to the values."""
    section = policy.slate
    if section is None:
        return Greedy()
    pick = _pick(section.exploration)
    rules = Rules(section.merchant_cap, section.category_cap, section.newcomers)
    diversity = None if section.diversity is None else _diversity(section.diversity)
    if rules == Rules() and diversity is None:
        return pick
    return SequentialSlate(pick, rules, diversity)


def perturbed_weights(policy: ValuePolicy) -> PerturbedWeights | None:
    """The section's experiment on the weights, if it has one."""
    explored = None if policy.slate is None else policy.slate.exploration
    if explored is None or explored.kind is not ExplorationKind.PERTURBED_WEIGHTS:
        return None
    return PerturbedWeights(explored.amount, explored.weights)


def _pick(section: ExplorationSection | None) -> Picker:
    if section is not None and section.kind is ExplorationKind.PLACKETT_LUCE:
        return PlackettLuce(section.amount)
    if section is not None and section.kind is ExplorationKind.EPSILON:
        return EpsilonGreedy(section.amount)
    return Greedy()


def _diversity(section: DiversitySection) -> Diversity:
    similarity = Similarity(section.merchant, section.category, section.embedding)
    return (MMR if section.kind is DiversityKind.MMR else DPP)(section.strength, similarity)
