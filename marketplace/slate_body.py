"""Body of a slate: one Arrow record-batch message of PLAIN_SLATE, LZ4-compressed, as logs keep and topics carry it.

Four bytes, little-endian, hold the message's length; the schema is implied by SCHEMA_VERSION (it alone would take some
10 KB a slate).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from marketplace.slate_columns import PLAIN_SLATE

CODEC = pa.Codec("lz4_raw")
USER = PLAIN_SLATE.get_field_index("user_id")
TOGETHER = 64
UNREADABLE = (pa.ArrowException, OSError, TypeError, ValueError, OverflowError)  # what a damaged body raises


class StoredSlate(NamedTuple):
    """A slate as a log keeps it; `user_id` None = it lies in the body alone."""

    request_id: str
    user_id: str | None
    body: bytes


def rows_apart(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Each row alone: a copy, because the message of a slice holds the maps of all rows."""
    return (batch.take(pa.array([row])) for row in range(len(batch)))


def pack(batch: pa.RecordBatch) -> bytes:
    """The body of a batch of one row."""
    message = batch.serialize()
    return message.size.to_bytes(4, "little") + CODEC.compress(message, asbytes=True)


def unpack(body: bytes, request_id: str) -> pa.RecordBatch:
    """One slate; raises one of UNREADABLE where the body is not what was written under `request_id`."""
    batch = _message(body)
    batch.validate()
    if batch.num_rows != 1 or batch["request_id"][0].as_py() != request_id:
        raise ValueError("the body is not that of its request id")
    batch["time"][0].as_py()
    return batch


def unpack_all(bodies: Sequence[bytes], request_ids: Sequence[str]) -> list[pa.RecordBatch]:
    """Slates in their order, TOGETHER to a batch; raises one of UNREADABLE where `unpack` raises it of any."""
    batches = []
    for start in range(0, len(bodies), TOGETHER):
        some = [_message(body) for body in bodies[start : start + TOGETHER]]
        for batch in some:
            batch.validate()
        batch = pa.concat_batches(some)
        names = batch["request_id"].to_pylist()
        if {one.num_rows for one in some} != {1} or names != list(request_ids[start : start + TOGETHER]):
            raise ValueError("the body is not that of its request id")
        for time in pc.min_max(batch["time"]).values():
            time.as_py()
        batches.append(batch)
    return batches


def user_of(body: bytes) -> str:
    """The shopper alone; raises one of UNREADABLE."""
    return str(_message(body).column(USER)[0].as_py())


def _message(body: bytes) -> pa.RecordBatch:
    message = CODEC.decompress(memoryview(body)[4:], int.from_bytes(body[:4], "little"))
    return pa.ipc.read_record_batch(message, PLAIN_SLATE)
