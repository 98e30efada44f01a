"""How large and how lively the simulated market is; every amount in it is in SAR."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from marketplace.simulator.words import CATEGORIES

CURRENCY = "SAR"


@dataclass(frozen=True)
class SimulatorConfig:
    """A market and the log it leaves; `small`, `demo` and `large` are sizes to start from."""

    requests: int = 18_000  # slates in the log; about 14 impressions each
    users: int = 5_000
    items: int = 8_000
    merchants: int = 320
    start: datetime = datetime(2025, 1, 6, tzinfo=UTC)
    days: int = 42  # in which the market moves
    log_days: int = 0  # of them, from the start: those that the log holds; 0 = all
    candidates: int = 40  # drawn for each request, before repeats and what is not on sale are dropped
    shown: tuple[int, int, int, int] = (16, 20, 16, 10)  # slate length on home, search, store_page, product_page
    log_considered: bool = False  # keep candidates that were not shown in the slates, at position 0
    logging_temperature: float = 1.0  # of the Plackett-Luce logging policy: near 0 = greedy, large = uniform
    examination_power: float = 1.0  # of P(examined): 2 = squared at every place, 0 = everything is examined
    click_offset: float = 0.0  # log-odds added to every click given examination
    order_offset: float = 0.0  # log-odds added to every order given a click
    cart_rate: float = 0.18  # P(cart | click, no order)
    value_spread: float = 0.15  # sd of log order value around price x quantity
    personal_taste: float = 0.5  # sd of a shopper's own category taste around the segment's, log-odds
    bait_share: float = 0.08  # of items: many clicks, few orders
    launch_share: float = 0.15  # of items: launched inside the log
    newcomer_share: float = 0.25  # of merchants: joined inside the log or in the newcomer_days before it
    newcomer_days: int = 90  # how long a merchant counts as a newcomer
    segment_accuracy: float = 0.85  # P(a shopper's recorded segment is the true one)
    drift_day: float = 28.0  # days after start at which every drift below sets in
    preference_drift: float = 0.0  # share of taste that is replaced, [0, 1]
    demand_shift: float = 0.0  # log-odds by which shopping intent leaves half of the categories for the others
    new_merchants: float = 0.0  # share of merchants that join, with all their items, on drift_day
    price_change: float = 0.0  # relative change of every price: 0.2 = 20 % dearer
    repriced_share: float = 0.0  # of items whose price changes once
    sold_out_share: float = 0.0  # of items that run out of stock once, for three days
    coupon_share: float = 0.0  # of shown items that bear a coupon, by a fair draw each

    def __post_init__(self) -> None:
        shares = ("bait_share", "launch_share", "newcomer_share", "segment_accuracy", "preference_drift", "cart_rate")
        for name in (*shares, "new_merchants", "repriced_share", "sold_out_share", "coupon_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"SimulatorConfig.{name} is {getattr(self, name)}; it is a share: give 0 to 1.")
        for name in ("requests", "users", "items", "merchants", "days", "candidates", "logging_temperature"):
            if getattr(self, name) <= 0:
                raise ValueError(f"SimulatorConfig.{name} is {getattr(self, name)}; it must be above 0.")
        if not 0 <= self.log_days <= self.days:
            raise ValueError(f"SimulatorConfig.log_days is {self.log_days}; give 0 to {self.days}, its days.")
        if self.examination_power < 0:
            raise ValueError(f"SimulatorConfig.examination_power is {self.examination_power}; give 0 or more.")
        if self.items < len(CATEGORIES):
            raise ValueError(
                f"SimulatorConfig.items is {self.items}; each of the {len(CATEGORIES)} categories needs one."
            )
        if self.start.tzinfo is None:
            raise ValueError(f"SimulatorConfig.start is {self.start} without a time zone: give tzinfo, e.g. UTC.")
        if self.price_change <= -1:
            raise ValueError(f"SimulatorConfig.price_change is {self.price_change}; prices must stay above 0.")

    @classmethod
    def small(cls) -> SimulatorConfig:
        """For tests: about 20 k impressions."""
        return cls(requests=1_500, users=600, items=900, merchants=80)

    @classmethod
    def demo(cls) -> SimulatorConfig:
        """For the demonstration: about 250 k impressions."""
        return cls()

    @classmethod
    def coupons(cls) -> SimulatorConfig:
        """For uplift: a lively market of the demo's size, half of whose shown items bear a coupon."""
        return replace(cls(), click_offset=1.0, order_offset=1.5, coupon_share=0.5)

    @classmethod
    def large(cls) -> SimulatorConfig:
        """About 1 M impressions over 20 k items."""
        return replace(cls(), requests=72_000, users=20_000, items=20_000, merchants=800)
