"""Rival policy: what a tried request is compared under: one in force before, a shipped one, or other weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from desk.versions import VersionRecord, Versions
from serving.request import BadRequest
from value_model.formula import ValuePolicy, shipped_policies, shipped_policy

IN_FORCE = "in force"
SHIPPED = "SAR"  # the currency of the shipped policies


def shipped_names(currency: str) -> Sequence[str]:
    """Those that a market in this currency can be compared under."""
    return shipped_policies() if currency == SHIPPED else ()


def rival_policy(form: Mapping[str, str], in_force: ValuePolicy, versions: Versions | None) -> ValuePolicy | None:
    """The policy that the form's `against` and `weights` name, None = none; raises BadRequest for what is unknown."""
    against, weights = form.get("against", ""), form.get("weights", "").strip()
    if not against and not weights:
        return None
    policy = in_force if against in ("", IN_FORCE) else _named(against, versions)
    return policy.with_weights(weights_of(weights, policy)) if weights else policy


def weights_of(text: str, policy: ValuePolicy) -> dict[str, float]:
    """`w_click=0.2, w_new=0` as numbers; raises BadRequest for a weight that the policy does not have."""
    values = {}
    for part in filter(str.strip, text.split(",")):
        name, _, number = (word.strip() for word in part.partition("="))
        if name not in policy.weight:
            raise BadRequest("weights", f"there is no weight {name!r}; there are {', '.join(policy.weight)}")
        weight = policy.weight[name]
        try:
            values[name] = float(number)
        except ValueError:
            raise BadRequest("weights", f"{name} is {number!r}; write {name}=0.5 or so") from None
        if not weight.low <= values[name] <= weight.high:
            raise BadRequest("weights", f"{name} lies between {weight.low:g} and {weight.high:g}; {number} is outside")
    return values


def named_versions(versions: Versions | None) -> Sequence[VersionRecord]:
    """Newest first."""
    return () if versions is None else versions.entries()[::-1]


def _named(against: str, versions: Versions | None) -> ValuePolicy:
    if against.isdecimal() and versions is not None:
        if int(against) in {entry.number for entry in versions.entries()}:
            return versions.policy(int(against))
    elif against in shipped_policies():
        return shipped_policy(against)
    raise BadRequest("against", f"there is no policy {against!r}")
