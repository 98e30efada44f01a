"""Causes: what figures that depart together point to, one row a cause, so that one fault is one alert.

The first row one of whose `signs` departs takes these, and with them every departure that it `explains`; what is left
goes on to the next rows. The last row takes whatever nothing else explains. A row stands before those whose signs it
causes: a log that lost hours also shows fewer clicks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

LABELS = ("rate.*", "calibration.*", "entropy.*", "auc.*", "merchant_clicks", "paid_to_price", "slow.*")
INPUTS = ("drift.*", "auc_expected.*", "out_of_range.*", "missing.*", "skew.*", "replayed", "slow.*")
LISTS = ("items", "overlap", "cold_start", "gini", "top_merchant", "source.*", "fill", "price", "seen.*", "position.*")


@dataclass(frozen=True)
class Cause:
    """`signs` and `explains` are patterns of figures' names; one that begins with - or + is meant of those below or
    above the usual.

    `meaning`: what it likely is, and the first thing to do.
    """

    name: str
    meaning: str
    signs: tuple[str, ...]
    explains: tuple[str, ...] = ()

    @property
    def runbook(self) -> str:
        """Where to read on."""
        return f"docs/operations.md#alert-{self.name.replace('_', '-')}"


CAUSES = (
    Cause(
        "clock",
        "a clock is wrong: events lie before their slates, or after their windows",
        ("events.early", "events.late"),
        (*LABELS, "rate.*", "events.*", "position.*", "seen.*"),
    ),
    Cause(
        "bots",
        "a few shoppers make an unlikely share of the requests",
        ("top_shoppers",),
        (*LABELS, *INPUTS, *LISTS, "+requests", "hours"),
    ),
    Cause(
        "log_loss",
        "slates or feedback of some hours are missing",
        ("silence", "hours", "events.orphan_*", "-requests", "-rate.seen"),
        (*LABELS, *INPUTS, *LISTS, "requests", "events.*", "top_shoppers", "catalogue_updates"),
    ),
    Cause(
        "currency",
        "amounts are in another currency or unit than they say",
        ("paid_to_price", "events.other_currency"),
        ("calibration.order_value.*", "calibration.gmv.*", "calibration.net_gmv.*", "events.bad_amount", "slow.*"),
    ),
    Cause(
        "duplicate_events",
        "events are delivered more than once under other ids",
        ("events.repeated", "quarantined.repeated_order"),
        (*LABELS, "position.*", "seen.*", "events.*"),
    ),
    Cause(
        "merchant_gaming",
        "one merchant gets more clicks than its impressions explain",
        ("merchant_clicks",),
        (*LABELS, "top_merchant", "gini", "position.*", "drift.*", "slow.*"),
    ),
    Cause(
        "stale_bundle",
        "a worker still answers with a bundle that was superseded",
        ("superseded",),
        (*INPUTS, *LISTS, "calibration.*", "entropy.*", "auc.*"),
    ),
    Cause(
        "broken_feature",
        "a logged feature is empty, or has values that it never had",
        ("missing.*", "out_of_range.*"),
        (*INPUTS, *LISTS, "calibration.*", "entropy.*", "auc.*", "rate.*"),
    ),
    Cause(
        "skew",
        "features as served differ from what the log says they should have been",
        ("skew.*", "-replayed"),
        (*INPUTS, *LISTS, "calibration.*", "entropy.*", "auc.*", "rate.*"),
    ),
    Cause(
        "stock_feed",
        "the catalogue's feed has stopped: stock and prices are old",
        ("catalogue_updates",),
        ("price", "fill", "cold_start", "rate.order", "rate.cart", "slow.*"),
    ),
    Cause(
        "position_change",
        "what is seen or clicked by place has changed: the page, or what counts as seen",
        ("position.*", "seen.*", "rate.seen"),
        (*LABELS,),
    ),
    Cause(
        "drift",
        "shoppers, the catalogue or the lists are not what they were; nothing that is broken explains it",
        ("*",),
    ),
)


def by_cause(departures: Mapping[str, float]) -> dict[Cause, list[str]]:
    """Figures that depart, with the sign of their departure, by the cause that they point to."""
    left, result = dict(departures), dict[Cause, list[str]]()
    for cause in CAUSES:
        if any(_fits(name, sign, cause.signs) for name, sign in left.items()):
            taken = [name for name, sign in left.items() if _fits(name, sign, (*cause.signs, *cause.explains))]
            result[cause] = sorted(taken, key=lambda name: not _fits(name, left[name], cause.signs))
            left = {name: sign for name, sign in left.items() if name not in taken}
    return result


def _fits(name: str, sign: float, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(("+" if sign > 0 else "-") + name, _signed(pattern)) for pattern in patterns)


def _signed(pattern: str) -> str:
    return pattern if pattern[0] in "+-" else f"?{pattern}"
