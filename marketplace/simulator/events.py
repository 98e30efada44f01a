"""What shoppers did with the lists they were shown: draws from the truth, and when each event came.

Arrays are [R, k] over requests and positions. Delays are in days after the slate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marketplace.simulator.behaviour import Response
from marketplace.simulator.examination import attention_curve, seen_curve
from marketplace.simulator.requests import RequestBatch

SECOND = 1 / 86_400


@dataclass(frozen=True)
class Events:
    """bool [R, k] each; an order implies a click and a cart, a click implies seen, a loss implies an order."""

    seen: np.ndarray
    click: np.ndarray
    cart: np.ndarray
    order: np.ndarray
    refused: np.ndarray
    returned: np.ndarray
    value: np.ndarray  # float64 [R, k]: of the order, SAR; 0 without one


def draw_events(
    requests: RequestBatch,
    response: Response,
    shown: np.ndarray,
    rng: np.random.Generator,
    *,
    cart_rate: float,
    value_spread: float,
    examination_power: float = 1.0,
) -> Events:
    """One market's worth of luck. How far a shopper scrolls is one draw a request, attention one draw an item."""
    shape = shown.shape
    seen_share = seen_curve(positions=shape[1], power=examination_power)[requests.surface]
    attention = attention_curve(positions=shape[1], power=examination_power)[requests.surface]
    seen = shown & (rng.random((len(requests), 1)) < seen_share)
    click = seen & (rng.random(shape) < attention * response.attraction)
    order = click & (rng.random(shape) < response.order)
    refused = order & (rng.random(shape) < response.refused)
    return Events(
        seen=seen,
        click=click,
        cart=order | (click & (rng.random(shape) < cart_rate)),
        order=order,
        refused=refused,
        returned=order & ~refused & (rng.random(shape) < response.returned),
        value=np.where(order, order_values(response, rng, spread=value_spread), 0.0),
    )


def order_values(response: Response, rng: np.random.Generator, *, spread: float) -> np.ndarray:
    """Log-normal around price x units, with mean price x (1 + extra units); SAR."""
    units = 1 + rng.poisson(response.extra_units)
    luck = np.exp(rng.normal(0, spread, units.shape) - spread**2 / 2)
    return np.round(response.price * units * luck, 2)


def draw_delays(events: Events, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Days between the slate and each event, float64 [R, k] by name; later steps come after earlier ones."""
    shape = events.seen.shape
    seen = np.cumsum(rng.exponential(1.5 * SECOND, shape), axis=1)
    click = seen + rng.exponential(10 * SECOND, shape)
    cart = click + (5 + rng.exponential(60, shape)) * SECOND
    order = cart + (10 + rng.exponential(600, shape)) * SECOND
    lost = np.where(events.refused, 1 + rng.gamma(2, 1, shape), 3 + rng.gamma(2, 3, shape))
    return {"impression": seen, "click": click, "cart": cart, "order": order, "return": order + lost}
