"""The policies that come with the package: the default, and one worked example of every form in use."""

from __future__ import annotations

from importlib.resources import files

from value_model.formula.currency import in_currency
from value_model.formula.toml_reader import parse_policy
from value_model.formula.value_policy import ValuePolicy

# Rough magnitudes, for starting values only: how many of the currency one Saudi riyal buys.
PER_RIYAL = {"SAR": 1.0, "AED": 0.98, "QAR": 0.97, "KWD": 0.082, "BHD": 0.1, "OMR": 0.103}
PER_RIYAL |= {"USD": 0.267, "EUR": 0.245, "GBP": 0.21, "TWD": 8.5}
_FOLDER = files("value_model") / "policies"


def shipped_policies() -> tuple[str, ...]:
    """The names that `shipped_policy` takes."""
    return tuple(sorted(entry.name[: -len(".toml")] for entry in _FOLDER.iterdir() if entry.name.endswith(".toml")))


def shipped_policy(name: str) -> ValuePolicy:
    """One shipped policy; raises FileNotFoundError naming those that exist."""
    if name not in shipped_policies():
        raise FileNotFoundError(f"no policy {name!r} is shipped; there are {', '.join(shipped_policies())}.")
    return parse_policy((_FOLDER / f"{name}.toml").read_bytes(), file=f"{name}.toml")


def default_policy(*, currency: str = "SAR", clicks: bool = True, orders: bool = True) -> ValuePolicy:
    """The README's formula; without the terms of heads that the data do not teach, `cold_start` where they teach none.

    Raises ValueError for a currency without a rate: use `in_currency` with your own.
    """
    names = {(True, True): "default", (False, True): "purchases", (True, False): "clicks"}
    policy = shipped_policy(names.get((clicks, orders), "cold_start"))
    if currency not in PER_RIYAL:
        raise ValueError(
            f"the default policy knows no rate for {currency!r}, only for {', '.join(PER_RIYAL)}: "
            f"call in_currency(default_policy(), {currency!r}, rate=...) with how many a riyal buys."
        )
    return policy if currency == policy.currency else in_currency(policy, currency, rate=PER_RIYAL[currency])
