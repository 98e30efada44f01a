"""Merchants and items with their hidden qualities. Arrays over M merchants and I items; prices in SAR."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marketplace.simulator import words
from marketplace.simulator.config import SimulatorConfig
from marketplace.simulator.shoppers import STYLE


@dataclass(frozen=True)
class Merchants:
    """The truth about every merchant; merchant 0 was always there."""

    country: np.ndarray  # int8 [M]
    plan: np.ndarray  # int8 [M]
    commission_rate: np.ndarray  # float64 [M]: share of an order's value
    quality: np.ndarray  # float64 [M]: [0, 1]
    return_rate: np.ndarray  # float64 [M]: P(returned | delivered), before the category's factor
    refusal_rate: np.ndarray  # float64 [M]: P(refused | paid in cash on delivery)
    joined: np.ndarray  # float64 [M]: days after the log's start; -inf = long ago
    size: np.ndarray  # float64 [M]: share of the catalogue, sums to 1


@dataclass(frozen=True)
class Items:
    """The truth about every item; `relative_price` is log(price / the category's typical price)."""

    category: np.ndarray  # int8 [I]
    merchant: np.ndarray  # int32 [I]
    brand: np.ndarray  # int8 [I]
    attribute: np.ndarray  # int8 [I]
    language: np.ndarray  # int8 [I]: 0 English, 1 Arabic, 2 both
    price: np.ndarray  # float64 [I]
    relative_price: np.ndarray  # float32 [I]
    quality: np.ndarray  # float32 [I]: mean 0, sd about 1
    appeal: np.ndarray  # float32 [I]: how well it is pictured, log-odds of a click
    bait: np.ndarray  # bool [I]: promises more than it keeps
    style: np.ndarray  # float32 [I, STYLE]
    popularity: np.ndarray  # float64 [I]: weight by which old-style retrieval proposes it
    available: np.ndarray  # float64 [I]: launch, days after the log's start; -inf = always was
    in_stock: np.ndarray  # bool [I]


def draw_merchants(config: SimulatorConfig, rng: np.random.Generator) -> Merchants:
    """Better merchants have fewer returns and refusals; dearer plans pay less commission."""
    count = config.merchants
    quality = rng.beta(5, 2.5, count)
    plan = rng.choice(3, size=count, p=(0.6, 0.28, 0.12)).astype(np.int8)
    newcomer = rng.random(count) < config.newcomer_share
    joined = np.where(newcomer, rng.uniform(-config.newcomer_days, config.days * 0.8, count), -np.inf)
    late = rng.random(count) < config.new_merchants
    joined = np.where(late, config.drift_day, joined)
    joined[0] = -np.inf
    size = rng.lognormal(0, 1.0, count) * np.where(newcomer, 0.8, 1.0)
    return Merchants(
        country=rng.choice(len(words.COUNTRIES), size=count, p=words.COUNTRY_SHARE).astype(np.int8),
        plan=plan,
        commission_rate=np.round(np.array([0.16, 0.12, 0.09])[plan] + rng.uniform(-0.02, 0.02, count), 3),
        quality=np.round(quality, 3),
        return_rate=np.round(np.clip(0.40 * (1 - quality) ** 1.3 * rng.lognormal(0, 0.3, count), 0.005, 0.5), 4),
        refusal_rate=np.round(np.clip(0.35 * (1 - quality) * rng.lognormal(0, 0.3, count), 0.01, 0.6), 4),
        joined=joined,
        size=size / size.sum(),
    )


def draw_items(config: SimulatorConfig, merchants: Merchants, rng: np.random.Generator) -> Items:
    """Item i < K belongs to category i and merchant 0 and is always on sale, so that no category is ever empty."""
    traits, styles = rng.spawn(2)
    count, width = config.items, len(words.CATEGORIES)
    category = traits.choice(width, size=count, p=_category_share(width)).astype(np.int8)
    category[:width] = np.arange(width)[:count]
    merchant = traits.choice(config.merchants, size=count, p=merchants.size).astype(np.int32)
    merchant[:width] = 0
    launched = np.where(traits.random(count) < config.launch_share, traits.uniform(0, config.days, count), -np.inf)
    in_stock = traits.random(count) > 0.02
    launched[:width], in_stock[:width] = -np.inf, True
    relative = _relative_price(category, traits)
    brand = _brands(category, traits)
    attribute = traits.integers(len(words.ATTRIBUTES), size=count).astype(np.int8)
    quality = 3.0 * (merchants.quality[merchant] - 2 / 3) + traits.normal(0, 0.8, count)
    appeal = traits.normal(0, 0.35, count)
    poor = (1 - merchants.quality) ** 2  # bait comes from poor merchants for the most part
    bait = traits.random(count) < config.bait_share * (poor / (merchants.size @ poor))[merchant]
    typical = np.array([row.price for row in words.CATEGORIES])[category]
    price = np.maximum(np.round(typical * np.exp(relative), 2), 1.0)
    fame = 0.7 * appeal + 0.25 * quality + 0.8 * bait - 0.2 * relative + traits.normal(0, 0.8, count)
    known = np.where(np.isinf(merchants.joined[merchant]), 0.0, -0.5)  # newcomers are not known yet
    return Items(
        category=category,
        merchant=merchant,
        brand=brand,
        attribute=attribute,
        language=traits.choice(3, size=count, p=(0.4, 0.3, 0.3)).astype(np.int8),
        price=price,
        relative_price=np.log(price / typical).astype(np.float32),
        quality=quality.astype(np.float32),
        appeal=appeal.astype(np.float32),
        bait=bait,
        style=_styles(brand, attribute, styles),
        popularity=np.exp(fame + known),
        available=np.maximum(launched, merchants.joined[merchant]),
        in_stock=in_stock,
    )


def _category_share(width: int) -> np.ndarray:
    """Unequal, fixed shares of the catalogue: the largest category is about four times the smallest."""
    share = 1 + np.arange(width)[::-1] * 3 / (width - 1)
    return share[np.argsort(np.arange(width) * 7 % width)] / share.sum()


def _relative_price(category: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Log-normal within a category, with one dear line in twenty."""
    spread = np.array([row.spread for row in words.CATEGORIES])[category]
    dear = np.where(rng.random(len(category)) < 0.05, 0.9, 0.0)
    return rng.normal(0, 1, len(category)) * spread + dear


def _brands(category: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A brand of the category; each category carries its own few, the first ones more often."""
    count, few = len(words.BRANDS), words.BRANDS_PER_CATEGORY
    carried = np.argsort(rng.random((len(words.CATEGORIES), count)), axis=1)[:, :few]
    share = 1 / (1 + np.arange(few))
    return carried[category, rng.choice(few, size=len(category), p=share / share.sum())].astype(np.int8)


def _styles(brand: np.ndarray, attribute: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Style comes from the words of the name for the most part, so that a new item can be placed by them."""
    by_brand = rng.normal(0, 0.75, (len(words.BRANDS), STYLE))
    by_attribute = rng.normal(0, 0.5, (len(words.ATTRIBUTES), STYLE))
    individual = rng.normal(0, 0.3, (len(brand), STYLE))
    return (by_brand[brand] + by_attribute[attribute] + individual).astype(np.float32)
