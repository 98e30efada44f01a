"""What a ranking is judged by: the metrics that a policy file may constrain."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from marketplace.heads import HEADS, Head


@dataclass(frozen=True)
class Metric:
    """sum of `numerator` / sum of `denominator` over requests: outcomes, traits, `shown`, `examined` or `request`."""

    name: str
    numerator: str
    denominator: str = "request"
    unit: str = "1"
    meaning: str = ""

    @property
    def words(self) -> str:
        """What it is in plain words, such as "clicks per item shown"."""
        above, below = self.unit.split(" / ") if " / " in self.unit else (self.name, "")
        return self.meaning or f"{above}s per {below.replace('impression', 'item shown')}"

    @property
    def share(self) -> bool:
        """Whether its level is a share, which people write in per cent."""
        return self.unit == "1"

    @property
    def money(self) -> bool:
        return "currency" in self.unit


def _rate(head: Head) -> Metric:
    """A head's event as a share of its condition; where events cancel out of its unit, its own meaning says it."""
    meaning = "" if " / " in head.unit else head.meaning
    return Metric(head.name, head.label, head.condition or "shown", head.unit, meaning)


STANDARD = (
    *(_rate(head) for head in HEADS if head.is_rate),
    Metric("orders", "order", "request", "order / request"),
    Metric("gmv", "gmv", "request", "currency / request", "sales per request"),
    Metric("net_gmv", "net_gmv", "request", "currency / request", "sales per request that are kept"),
    Metric("commission", "commission", "request", "currency / request", "commission per request"),
    Metric("newcomer_exposure", "newcomer", "examined", meaning="share of what shoppers look at: new merchants"),
    Metric("merchant_quality", "quality", "examined", meaning="mean quality of the merchants shoppers look at"),
)
METRIC = {metric.name: metric for metric in STANDARD}
NAMES = tuple(metric.name for metric in STANDARD)


def closest(name: str) -> str:
    """What to write instead of a name that is no metric."""
    close = difflib.get_close_matches(name, NAMES, n=2)
    return f"Did you mean {' or '.join(close)}?" if close else f"Metrics are {', '.join(NAMES)}."
