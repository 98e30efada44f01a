"""Anonymous shoppers: where a user id is empty, the visit, device, request or order stands in for the shopper."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from marketplace.keys import values_of

STAND_INS = {"session_id": "session:", "device_id": "device:", "request_id": "request:", "order_id": "order:"}


def with_shoppers(columns: Mapping[str, pa.Array], *, rows: int) -> tuple[dict[str, pa.Array], int]:
    """The columns with a user id wherever one can stand in, without the device; and for how many rows one does."""
    rest = {name: values for name, values in columns.items() if name != "device_id"}
    user = columns.get("user_id", pa.nulls(rows, pa.string()))
    empty = user.null_count
    if not empty:
        return rest, 0
    for name, prefix in STAND_INS.items():
        if name in columns:
            user = pc.coalesce(user, pc.binary_join_element_wise(prefix, columns[name].cast(pa.string()), ""))
    return rest | {"user_id": user}, empty - user.null_count


def with_shoppers_of_slates(columns: Mapping[str, pa.Array], slates: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """The columns of events; one that names no shopper is by the shopper of the list that it answers."""
    requests = columns["request_id"]
    user = columns.get("user_id", pa.nulls(len(requests), pa.string()))
    if not user.null_count:
        return dict(columns)
    of_slate = values_of(requests, slates["request_id"], slates["user_id"]).cast(pa.string())
    return {**columns, "user_id": pc.coalesce(user, of_slate)}
