"""Where weights apply: everywhere, on one surface, or for one segment of shoppers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from value_model.formula.value_policy import Override, ValuePolicy, Weight
from value_model.tuning import Dimension, Evidence
from value_model.tuning.overrides import as_applied, labels


@dataclass(frozen=True)
class Scope:
    """`dimension` None = everywhere."""

    dimension: Dimension | None = None
    key: str = ""

    def __str__(self) -> str:
        return self.key if self.dimension else "everywhere"

    @property
    def title(self) -> str:
        return f"{self.dimension.value} {self.key}" if self.dimension else "everywhere"

    def rows(self, evidence: Evidence) -> np.ndarray:
        """bool [R]: the requests that it is about."""
        return np.ones(len(evidence), bool) if self.dimension is None else labels(evidence, self.dimension) == self.key

    def weights(self, policy: ValuePolicy) -> dict[str, float]:
        """As they apply there; a segment's on no particular surface."""
        if self.dimension is None:
            return {weight.name: weight.value for weight in policy.weights}
        if self.dimension is Dimension.SURFACE:
            return policy.weights_for(surface=self.key)
        return policy.weights_for(segment=self.key)

    def alone(self, policy: ValuePolicy) -> ValuePolicy:
        """The policy for its requests alone: moving a global weight of it is moving the scope's own."""
        return policy if self.dimension is None else as_applied(policy, self.dimension, self.key)

    def moved(self, policy: ValuePolicy, values: dict[str, float]) -> ValuePolicy:
        """The policy with weights moved there: those that differ become a decision, which is not shrunk."""
        if self.dimension is None:
            return policy.with_weights(values)
        now = self.weights(policy)
        changed = {name: value for name, value in values.items() if value != now[name]}
        return replace(policy, weights=tuple(self._decided(w, changed) for w in policy.weights))

    def released(self, policy: ValuePolicy, name: str) -> ValuePolicy:
        """The policy without this scope's own value of a weight: it follows the global one again."""
        assert self.dimension is not None
        kept = {w.name: w if w.name != name else self._with(w, ()) for w in policy.weights}
        return replace(policy, weights=tuple(kept.values()))

    def restored(self, policy: ValuePolicy, before: ValuePolicy, name: str) -> ValuePolicy:
        """The policy with a weight as it stands there `before`, whether decided or followed."""
        if self.dimension is None:
            return policy.with_weights({name: before.weight[name].value})
        overrides = tuple(o for o in getattr(before.weight[name], self.dimension.value) if o.key == self.key)
        return replace(policy, weights=tuple(self._with(w, overrides) if w.name == name else w for w in policy.weights))

    def decides(self, policy: ValuePolicy, name: str) -> bool:
        """Whether the weight has a value of its own there."""
        return self.dimension is not None and any(
            o.key == self.key for o in getattr(policy.weight[name], self.dimension.value)
        )

    def _decided(self, weight: Weight, changed: dict[str, float]) -> Weight:
        if weight.name not in changed:
            return weight
        return self._with(weight, (Override(self.key, float(changed[weight.name])),))

    def _with(self, weight: Weight, overrides: tuple[Override, ...]) -> Weight:
        kept = weight.surface if self.dimension is Dimension.SURFACE else weight.segment
        both = tuple(sorted((*(o for o in kept if o.key != self.key), *overrides), key=lambda override: override.key))
        return replace(weight, surface=both) if self.dimension is Dimension.SURFACE else replace(weight, segment=both)


EVERYWHERE = Scope()
MOST_SEGMENTS = 12


def scopes(evidence: Evidence) -> tuple[Scope, ...]:
    """Everywhere, every surface, and every segment where there are few."""
    surfaces = [Scope(Dimension.SURFACE, key) for key in evidence.slates.surfaces]
    segments = sorted(set(evidence.segment.tolist()) - {""})
    few = segments if 1 < len(segments) <= MOST_SEGMENTS else []
    return (EVERYWHERE, *surfaces, *(Scope(Dimension.SEGMENT, key) for key in few))
