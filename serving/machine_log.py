"""A machine's log in a market of several machines, which know what the others have shown.

Each machine appends to a log of its own. A request id is claimed before its slate is stored, in the Redis that the
machines share: one that comes to another machine again is answered by the same slate, which then stands in both logs
(where these come together it counts once), and feedback is believed whichever machine has shown what it answers.
While that Redis is away a machine knows its own slates alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from features.backends.redis_slates import SharedSlates
from features.store import StoreUnavailable
from marketplace.log import SHOWN, DuplicateRequest, UnknownRequest
from marketplace.schema import SLATE
from marketplace.slate import Slate, slates_to_batch, table_to_slates
from marketplace.slate_body import pack, unpack
from marketplace.sqlite_log import SqliteLog
from serving.feedback_checks import READ

logger = logging.getLogger(__name__)
PATIENCE = timedelta(seconds=3)  # with a locked file
JUDGED = pa.schema([SLATE.field(name) for name in READ])


class MachineLog(SqliteLog):
    """An `SqliteLog` of a machine among several, which share `claimed`."""

    def __init__(
        self, path: Path, claimed: SharedSlates, *, patience: timedelta = PATIENCE, survive_power_loss: bool = False
    ) -> None:
        super().__init__(path, patience=patience, survive_power_loss=survive_power_loss)
        self._claimed = claimed

    def append(self, slate: Slate, *, catalogue: int | None = None) -> None:
        name, batch = slate.request_id, slates_to_batch([slate])
        shown, body = _judged(batch), pack(batch)
        try:
            earlier = self._claimed.claim(name, body, shown=shown)
        except StoreUnavailable as error:
            logger.warning("request %r: what other machines have shown is not known: %s", name, error)
            self.append_body(slate, body, catalogue=catalogue)
            return
        if earlier is not None:
            self.append_slates(_slates(earlier, name))
            raise DuplicateRequest(name)
        try:
            self.append_body(slate, body, catalogue=catalogue)
        except BaseException:
            self._claimed.release(name)
            raise

    def slate(self, request_id: str) -> Slate:
        try:
            return super().slate(request_id)
        except UnknownRequest:
            body = self._claimed.body(request_id)
            if body is None:
                raise
        return table_to_slates(_slates(body, request_id))[0]

    def slates_of(self, request_ids: Collection[str], *, columns: Sequence[str] = SHOWN) -> pa.Table:
        """Of other machines' slates the columns READ alone are known: others are those of the machine's own."""
        mine = super().slates_of(request_ids, columns=columns)
        if "request_id" not in columns or not set(columns) <= set(READ):
            return mine
        known = set(mine["request_id"].to_pylist())
        shown = self._claimed.shown([name for name in request_ids if name not in known])
        theirs = pa.Table.from_pylist(list(map(json.loads, shown)), schema=JUDGED).select(columns)
        return pa.concat_tables([mine, theirs.cast(mine.schema)])


def _judged(batch: pa.RecordBatch) -> bytes:
    """JSON of a slate's columns READ; its time in UTC microseconds, which Arrow reads back as a time."""
    read = batch.select(READ)
    place = READ.index("time")
    return json.dumps(read.set_column(place, "time", read.column(place).cast(pa.int64())).to_pylist()[0]).encode()


def _slates(body: bytes, request_id: str) -> pa.Table:
    return pa.Table.from_batches([unpack(body, request_id)]).cast(SLATE)
