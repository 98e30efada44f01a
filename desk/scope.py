"""Where weights apply: everywhere, on one surface, or for one segment of shoppers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from value_model.formula.value_policy import Override, ValuePolicy, Weight
from value_model.tuning import By, Evidence
from value_model.tuning.overrides import as_applied, labels


@dataclass(frozen=True)
class Scope:
    """`by` None = everywhere."""

    by: By | None = None
    key: str = ""

    def __str__(self) -> str:
        return self.key if self.by else "everywhere"

    @property
    def title(self) -> str:
        return f"{self.by.value} {self.key}" if self.by else "everywhere"

    def rows(self, evidence: Evidence) -> np.ndarray:
        """bool [R]: the requests that it is about."""
        return np.ones(len(evidence), bool) if self.by is None else labels(evidence, self.by) == self.key

    def weights(self, policy: ValuePolicy) -> dict[str, float]:
        """As they apply there; a segment's on no particular surface."""
        if self.by is None:
            return {weight.name: weight.value for weight in policy.weights}
        if self.by is By.SURFACE:
            return policy.weights_for(surface=self.key)
        return policy.weights_for(segment=self.key)

    def alone(self, policy: ValuePolicy) -> ValuePolicy:
        """The policy for its requests alone: moving a global weight of it is moving the scope's own."""
        return policy if self.by is None else as_applied(policy, self.by, self.key)

    def moved(self, policy: ValuePolicy, values: dict[str, float]) -> ValuePolicy:
        """The policy with weights moved there: those that differ become a decision, which is not shrunk."""
        if self.by is None:
            return policy.with_weights(values)
        now = self.weights(policy)
        changed = {name: value for name, value in values.items() if value != now[name]}
        return replace(policy, weights=tuple(self._decided(w, changed) for w in policy.weights))

    def released(self, policy: ValuePolicy, name: str) -> ValuePolicy:
        """The policy without this scope's own value of a weight: it follows the global one again."""
        assert self.by is not None
        kept = {w.name: w if w.name != name else self._with(w, ()) for w in policy.weights}
        return replace(policy, weights=tuple(kept.values()))

    def restored(self, policy: ValuePolicy, before: ValuePolicy, name: str) -> ValuePolicy:
        """The policy with a weight as it stands there `before`, whether decided or followed."""
        if self.by is None:
            return policy.with_weights({name: before.weight[name].value})
        own = tuple(o for o in getattr(before.weight[name], self.by.value) if o.key == self.key)
        return replace(policy, weights=tuple(self._with(w, own) if w.name == name else w for w in policy.weights))

    def decides(self, policy: ValuePolicy, name: str) -> bool:
        """Whether the weight has a value of its own there."""
        return self.by is not None and any(o.key == self.key for o in getattr(policy.weight[name], self.by.value))

    def _decided(self, weight: Weight, changed: dict[str, float]) -> Weight:
        if weight.name not in changed:
            return weight
        return self._with(weight, (Override(self.key, float(changed[weight.name])),))

    def _with(self, weight: Weight, own: tuple[Override, ...]) -> Weight:
        kept = weight.surface if self.by is By.SURFACE else weight.segment
        both = tuple(sorted((*(o for o in kept if o.key != self.key), *own), key=lambda override: override.key))
        return replace(weight, surface=both) if self.by is By.SURFACE else replace(weight, segment=both)


EVERYWHERE = Scope()
MOST_SEGMENTS = 12


def scopes(evidence: Evidence) -> tuple[Scope, ...]:
    """Everywhere, every surface, and every segment where there are few."""
    surfaces = [Scope(By.SURFACE, key) for key in evidence.slates.surfaces]
    segments = sorted(set(evidence.segment.tolist()) - {""})
    few = segments if 1 < len(segments) <= MOST_SEGMENTS else []
    return (EVERYWHERE, *surfaces, *(Scope(By.SEGMENT, key) for key in few))
