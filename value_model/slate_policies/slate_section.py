"""The policy file's [slate] section: rules, diversity, exploration, promises, and the slate policy of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from marketplace.schema import RELEVANCE
from value_model.slate_policies.diversity import Diversity
from value_model.slate_policies.epsilon_greedy import EpsilonGreedy
from value_model.slate_policies.perturbed_weights import PerturbedWeights
from value_model.slate_policies.plackett_luce import PlackettLuce
from value_model.slate_policies.rules import NewItems, Relevance, Unheeded
from value_model.slate_policies.sequential import SequentialSlate
from value_model.slate_policies.shadow_prices import ExposurePromises
from value_model.slate_policies.slate_policy import Greedy, SlatePolicy
from value_model.slate_policies.slate_rule import SlateRule

Exploration = PlackettLuce | EpsilonGreedy | PerturbedWeights
EXPLORATIONS: dict[str, type[Exploration]] = {
    exploration.kind: exploration for exploration in (PlackettLuce, EpsilonGreedy, PerturbedWeights)
}
# What a version has always counted, also where a section leaves it out.
ABSENT = {
    "merchant_cap": None,
    "category_cap": None,
    "newcomers": 0,
    "diversity": None,
    "exploration": None,
    "exposure": None,
}


@dataclass(frozen=True)
class SlateSection:
    """Rules in the order of RULES, none twice; diversity, exploration and exposure where there are any."""

    rules: tuple[SlateRule, ...] = ()
    diversity: Diversity | None = None
    exploration: Exploration | None = None
    exposure: ExposurePromises | None = None

    @property
    def perturbed_weights(self) -> PerturbedWeights | None:
        """The experiment on the weights, if there is one."""
        return self.exploration if isinstance(self.exploration, PerturbedWeights) else None

    @property
    def unheeded(self) -> Unheeded | None:
        """What keeps home from repeating what was left, if anything."""
        return next((rule for rule in self.rules if isinstance(rule, Unheeded)), None)

    @property
    def relevance(self) -> Relevance | None:
        """How a search is ranked before the value is, if it is."""
        return next((rule for rule in self.rules if isinstance(rule, Relevance)), None)

    @property
    def new_items(self) -> NewItems | None:
        """The quota of new items, if there is one."""
        return next((rule for rule in self.rules if isinstance(rule, NewItems)), None)

    @property
    def beside_exploration(self) -> SlateSection:
        """What decides places beside values, and beside what counts as parts of them: what comes first, what last."""
        rules = tuple(rule for rule in self.rules if not isinstance(rule, Relevance | Unheeded))
        return replace(self, rules=rules, exploration=None)

    @property
    def reads(self) -> tuple[str, ...]:
        """The item attributes that rules and diversity need."""
        names = [name for rule in self.rules for name in rule.reads]
        return tuple(dict.fromkeys([*names, *(self.diversity.reads if self.diversity else ())]))

    def rules_for(self, surface: str, *, search: bool) -> tuple[SlateRule, ...]:
        """Those that hold there; `search`: whether candidates have a relevance to what is searched."""
        rules = (rule for rule in self.rules if surface in rule.surfaces)
        return tuple(rule for rule in rules if search or RELEVANCE not in rule.reads)

    def policy(self, surface: str = "home", *, search: bool = False) -> SlatePolicy:
        """What fills slates; values hold perturbed weights and shadow prices."""
        drawn = self.exploration
        pick = Greedy() if drawn is None or isinstance(drawn, PerturbedWeights) else drawn
        rules = self.rules_for(surface, search=search)
        return SequentialSlate(pick, rules, self.diversity) if rules or self.diversity else pick

    def scaled(self, factor: float) -> SlateSection:
        """The same where one unit of value is called `factor`: rules count items and stay."""
        parts = {name: part.scaled(factor) for name, part in self._parts.items()}
        return replace(self, **parts)  # type: ignore[arg-type]

    def to_toml(self) -> dict[str, Any]:
        """The section's entries, in order."""
        entries = {rule.key: rule.to_toml() for rule in self.rules}
        return entries | {name: part.to_toml() for name, part in self._parts.items()}

    def canonical(self) -> dict[str, Any]:
        """What a policy's version hashes: the entries, and those that are absent."""
        content = ABSENT | self.to_toml()
        if (drawn := self.exploration) is not None:
            weights = drawn.names if isinstance(drawn, PerturbedWeights) else ()
            content["exploration"] = {"kind": drawn.kind, "amount": getattr(drawn, drawn.amount), "weights": weights}
        if self.exposure is not None:
            content["exposure"] = asdict(self.exposure)
        return content

    @property
    def _parts(self) -> dict[str, Diversity | Exploration | ExposurePromises]:
        parts = {"diversity": self.diversity, "exploration": self.exploration, "exposure": self.exposure}
        return {name: part for name, part in parts.items() if part is not None}
