"""The touches of a feedback stream as arrays: clicks, carts and orders, which carry histories and popularity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.catalogue import Catalogue
from marketplace.splits import DAY_US, microseconds

TOUCHES = ("click", "cart", "order")
WEIGHTS = np.array([1.0, 2.0, 4.0])  # of a touch in the item's popularity, by kind
HALF_LIFE = 7.0 * DAY_US  # of the item's popularity


@dataclass(frozen=True, eq=False)
class Touches:
    """E touches in the order recorded: user code, catalogue row (-1 = not in it), kind (index of TOUCHES), time.

    `users` names the user codes; `answers` marks the touches that belong to a slate.
    """

    users: pa.Array
    user: np.ndarray
    item: np.ndarray
    kind: np.ndarray
    time: np.ndarray
    answers: np.ndarray

    @classmethod
    def of(cls, feedback: pa.Table, catalogue: Catalogue) -> Touches:
        """The touches of a FEEDBACK table; other events are left out."""
        event = feedback["event"].cast(pa.string())
        kept = feedback.filter(pc.is_in(event, pa.array(TOUCHES)))
        kind = pc.index_in(kept["event"].cast(pa.string()), pa.array(TOUCHES))
        user = kept["user_id"].cast(pa.string()).combine_chunks().dictionary_encode()
        return cls(
            users=user.dictionary,
            user=user.indices.to_numpy(),
            item=catalogue.rows(kept["item_id"]),
            kind=kind.to_numpy().astype(np.int64),
            time=microseconds(kept["time"]),
            answers=kept["request_id"].is_valid().to_numpy(),
        )

    def codes(self, users: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """int64 codes of users, -1 for those who never touched anything."""
        found = pc.index_in(users.cast(pa.string()), self.users).fill_null(-1)
        return found.to_numpy().astype(np.int64)

    def only(self, rows: np.ndarray) -> Touches:
        """The touches at the positions, or under the mask, `rows`."""
        parts = (self.user[rows], self.item[rows], self.kind[rows], self.time[rows], self.answers[rows])
        return Touches(self.users, *parts)


def pair(user: np.ndarray, other: np.ndarray, *, size: int) -> np.ndarray:
    """int64 code of (user, other of `size`); -1 where either is unknown."""
    return np.where((user >= 0) & (other >= 0), user * np.int64(size) + other, -1)
