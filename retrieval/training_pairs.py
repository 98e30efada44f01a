"""Training pairs: the wishes that the towers learn from, each with a weight in orders.

An item that was ordered, put into the cart or clicked weighs as its strongest event. One that was shown and no more is
a faint wish, shown_weight / sqrt(place): that it stood in this list says what such requests are answered with, and
there are twenty of them for each that was touched.
"""

from __future__ import annotations

import numpy as np

from features.interactions import EVENT_WEIGHTS
from features.spec import ModelInputs
from marketplace.slate_columns import page_places
from retrieval.config import RetrievalConfig
from retrieval.labelled_requests import LabelledRequests
from retrieval.pairs import Pairs, pairs


def training_pairs(
    labelled: LabelledRequests,
    inputs: ModelInputs,
    requests: np.ndarray,
    *,
    config: RetrievalConfig,
    rng: np.random.Generator,
) -> Pairs:
    """At most `config.pairs` pairs of the requests (bool [R]): the newest touched, and a draw of the faint."""
    weight = np.where(requests[labelled.frame.request] & (labelled.item >= 0), pair_weight(labelled, config), 0.0)
    touched = np.flatnonzero((weight > 0) & (labelled.weight > 0))[-config.pairs :]
    faint = np.flatnonzero((weight > 0) & (labelled.weight == 0))
    drawn = rng.choice(faint, min(config.pairs - len(touched), len(faint)), replace=False)
    kept = np.zeros(len(weight), bool)
    kept[touched] = kept[drawn] = True
    return pairs(inputs, item=labelled.item, weight=np.where(kept, weight, 0.0))


def pair_weight(labelled: LabelledRequests, config: RetrievalConfig) -> np.ndarray:
    """float64 [N]: of each row's strongest event, else of its place in the list; 0 where it was not shown either."""
    of_event = {"order": config.order_weight, "cart": config.cart_weight, "click": config.click_weight}
    place, _ = page_places(labelled.slates)
    faint = np.where(place > 0, config.shown_weight / np.sqrt(np.maximum(place, 1)), 0.0)
    reached = [labelled.weight >= EVENT_WEIGHTS[event] for event in of_event]
    return np.select(reached, list(of_event.values()), faint)
