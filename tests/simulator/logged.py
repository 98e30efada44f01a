"""The simulated log as arrays [R, k] over slates and positions."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def logged_lists(simulation) -> np.ndarray:
    return np.where(simulation.ranked.shown, simulation.ranked.item, -1)[:, : max(simulation.config.shown)]


def events_at(simulation, items: np.ndarray, *, event: str = "click") -> np.ndarray:
    """float64 [R, k]: 1 where the item at that place had the event."""
    feedback = simulation.dataset.feedback.filter(
        pc.equal(simulation.dataset.feedback["event"].cast(pa.string()), event)
    )
    row = pc.index_in(feedback["request_id"], simulation.dataset.slates["request_id"].combine_chunks()).to_numpy()
    item = simulation.item_rows(feedback["item_id"])
    happened = np.zeros(items.shape)
    happened[row, (items[row] == item[:, None]).argmax(axis=1)] = 1
    return happened
