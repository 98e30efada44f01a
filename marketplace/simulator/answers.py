"""An engine's answers as ranked items, so that their true value can be computed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from marketplace.keys import rows_of
from marketplace.simulator.record_log import item_rows
from marketplace.slate_columns import flat, request_of_rows


def ranked_items(slates: pa.Table, request_ids: pa.Array | pa.ChunkedArray, *, items: int) -> np.ndarray:
    """int32 [R, k]: what the slate of request_ids[r] shows at positions 1, 2, ...; -1 = nothing.

    Raises ValueError for a slate that answers none of the requests, or shows an item that the market does not have.
    """
    request = rows_of(slates["request_id"], request_ids)
    if (request < 0).any():
        stray = slates["request_id"][int(np.argmin(request))]
        raise ValueError(f"slate {stray} answers none of the {len(request_ids)} requests.")
    row = request[request_of_rows(slates)]
    position = flat(slates, "position").to_numpy(zero_copy_only=False)
    item = item_rows(flat(slates, "item_id"), items)
    shown = position > 0
    if (item[shown] < 0).any():
        stray = flat(slates, "item_id")[int(np.flatnonzero(shown & (item < 0))[0])]
        raise ValueError(f"item {stray} is shown, but the simulated catalogue of {items} items does not have it.")
    ranked = np.full((len(request_ids), int(position.max(initial=0))), -1, np.int32)
    ranked[row[shown], position[shown] - 1] = item[shown]
    return ranked
