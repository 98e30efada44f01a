"""Shoppers and their hidden tastes. Arrays over U users; category columns follow `words.CATEGORIES`.

Tastes are log-odds, learnable from what is logged: segment x category, country x category, price sensitivity,
loyalty to a few merchants; a personal remainder only shows in the shopper's own history.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marketplace.simulator import words
from marketplace.simulator.config import SimulatorConfig

STYLE = 6  # dimensions of the latent style that shoppers and items share
LOYAL = 3  # merchants a shopper comes back to
SEGMENT_LIKING = 1.8  # log-odds by which a segment likes its own categories above the others
SEGMENT_SPREAD = 0.5  # sd of a segment's category tastes around that, log-odds


@dataclass(frozen=True)
class Shoppers:
    """The truth about every shopper; `observed_segment` is the platform's imperfect record of `segment`."""

    country: np.ndarray  # int8 [U]
    city: np.ndarray  # int8 [U]
    segment: np.ndarray  # int8 [U]
    observed_segment: np.ndarray  # int8 [U]
    arabic: np.ndarray  # bool [U]: uses the Arabic app
    device: np.ndarray  # int8 [U]
    activity: np.ndarray  # float64 [U]: sums to 1
    joined: np.ndarray  # float64 [U]: days after the log's start; -inf = long ago
    cash: np.ndarray  # float32 [U]: P(an order is paid in cash on delivery)
    price_sensitivity: np.ndarray  # float32 [U]: around 1
    bulk: np.ndarray  # float32 [U]: factor on extra units an order
    taste: np.ndarray  # float32 [U, K]: log-odds, before drift_day
    taste_after: np.ndarray  # float32 [U, K]: from drift_day on
    style: np.ndarray  # float32 [U, STYLE]
    loyal: np.ndarray  # int32 [U, LOYAL]: merchants
    segment_taste: np.ndarray  # float32 [segments, K]


def draw_shoppers(config: SimulatorConfig, regulars: np.ndarray, rng: np.random.Generator) -> Shoppers:
    """Shoppers loyal to merchants among `regulars` (int32, merchants that were there before the log)."""
    tastes, traits = rng.spawn(2)
    count, segments = config.users, len(words.SEGMENTS)
    segment = traits.integers(segments, size=count).astype(np.int8)
    country = traits.choice(len(words.COUNTRIES), size=count, p=words.COUNTRY_SHARE).astype(np.int8)
    confused = traits.random(count) > config.segment_accuracy
    observed = np.where(confused, traits.integers(segments, size=count), segment).astype(np.int8)
    activity = traits.lognormal(0, 1.0, count)
    thrift = np.log([1.1, 1.0, 0.8, 0.9, 0.5, 1.8])[segment]
    new = traits.random(count) < 0.1
    before, after, segment_taste = _tastes(config, segment, country, tastes)
    centre = tastes.normal(0, 0.9, (segments, STYLE))
    return Shoppers(
        country=country,
        city=_city(country, traits),
        segment=segment,
        observed_segment=observed,
        arabic=traits.random(count) < np.array(words.ARABIC_SHARE)[country],
        device=traits.choice(len(words.DEVICES), size=count, p=words.DEVICE_SHARE).astype(np.int8),
        activity=activity / activity.sum(),
        joined=np.where(new, traits.uniform(0, config.days * 0.9, count), -np.inf),
        cash=traits.beta(2, 2, count).astype(np.float32) * 2 * np.array(words.CASH_SHARE, np.float32)[country],
        price_sensitivity=np.exp(thrift + traits.normal(0, 0.4, count)).astype(np.float32),
        bulk=np.array([2.0, 0.8, 0.6, 0.9, 1.0, 1.1], np.float32)[segment],
        taste=before,
        taste_after=after,
        style=(centre[segment] + tastes.normal(0, 0.4, (count, STYLE))).astype(np.float32),
        loyal=traits.choice(regulars, size=(count, LOYAL)).astype(np.int32),
        segment_taste=segment_taste,
    )


def _tastes(
    config: SimulatorConfig, segment: np.ndarray, country: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Category tastes before and after the drift; both have the same variance whatever the drift's share."""
    first, second = rng.spawn(2)
    old = _draw_tastes(config, segment, country, first, turn=0)
    new = _draw_tastes(config, segment, country, second, turn=1)
    share = config.preference_drift
    after = np.sqrt(1 - share) * old[0] + np.sqrt(share) * new[0]
    return old[0].astype(np.float32), after.astype(np.float32), old[1].astype(np.float32)


def _draw_tastes(
    config: SimulatorConfig, segment: np.ndarray, country: np.ndarray, rng: np.random.Generator, *, turn: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tastes [U, K] and the segments' part [segments, K]; each segment likes what the one `turn` before it did."""
    width = len(words.CATEGORIES)
    likes = [[row.name in liked for row in words.CATEGORIES] for liked in words.SEGMENT_LIKES.values()]
    by_segment = SEGMENT_LIKING * (np.roll(likes, turn, axis=0) - 0.25) + rng.normal(
        0, SEGMENT_SPREAD, (len(likes), width)
    )
    by_country = rng.normal(0, 0.35, (len(words.COUNTRIES), width))
    personal = rng.normal(0, config.personal_taste, (len(segment), width))
    return by_segment[segment] + by_country[country] + personal, by_segment


def _city(country: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A city of the shopper's country."""
    cities = np.array(words.CITY_COUNTRY)
    first = np.searchsorted(cities, country)
    count = np.searchsorted(cities, country, side="right") - first
    return (first + (rng.random(len(country)) * count).astype(int)).astype(np.int8)
