"""Visits: which of a shopper's events belong together.

A visit is the events of one shopper under one session id; where an event names no session, those that follow one
another within GAP. Two shoppers whose sessions have the same name are in two visits.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.keys import one_array
from marketplace.schema import FEEDBACK, INTERESTS
from marketplace.splits import SECOND, microseconds

GAP = 30 * 60 * SECOND  # microseconds: a shopper who was silent for so long is on a new visit


def in_visits(feedback: pa.Table) -> pa.Table:
    """FEEDBACK rows with a `session_id` in each that no other visit has; what has one already stays as it is."""
    user, session = (_codes(feedback[name]) for name in ("user_id", "session_id"))
    unclear = (session < 0) | _shared(user, session)[session]
    if not unclear.any():
        return feedback
    head = _first_rows(user, session, microseconds(feedback["time"]))
    users, sessions = (one_array(feedback[name]).cast(pa.string()) for name in ("user_id", "session_id"))
    time = pc.strftime(feedback["time"].combine_chunks().take(pa.array(head)), "%Y-%m-%dT%H:%M:%S")
    since = pc.if_else(pa.array(session < 0), pc.binary_join_element_wise("from", time, " "), sessions)
    names = pc.if_else(pa.array(unclear), pc.binary_join_element_wise(users, since, "/"), sessions)
    place = feedback.column_names.index("session_id")
    field = FEEDBACK.field("session_id")
    return feedback.set_column(place, field, names.dictionary_encode().cast(field.type))


def visit_notes(feedback: pa.Table) -> tuple[str, ...]:
    """What a run says of how it read the visits of FEEDBACK rows."""
    user, session = (_codes(feedback[name]) for name in ("user_id", "session_id"))
    visits, notes = len(pc.unique(in_visits(feedback)["session_id"])), []
    if missing := int((session < 0).sum()):
        notes.append(
            f"{missing:,} of {len(feedback):,} events name no session: a shopper's events within "
            f"{GAP // (60 * SECOND)} minutes of one another count as one visit ({visits:,} visits in all)."
        )
    if silent := pc.sum(pc.is_in(feedback["event"].cast(pa.string()), pa.array(INTERESTS))).as_py():
        notes.append(
            f"{silent:,} of {len(feedback):,} events are {' or '.join(INTERESTS)}, which teach nothing yet: without "
            "lists map them to click, and they stand for interest."
        )
    if shared := int(_shared(user, session)[:-1].sum()):
        notes.append(f"{shared:,} session ids are those of several shoppers: each shopper's is a visit of its own.")
    return tuple(notes)


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """int64: a code a name, -1 where it is null or empty."""
    names = one_array(column).cast(pa.string())
    names = pc.if_else(pc.equal(names, ""), None, names)
    return names.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def _shared(user: np.ndarray, session: np.ndarray) -> np.ndarray:
    """bool [sessions + 1]: whether several users have the session; the last, of code -1, is False."""
    known = session >= 0
    pairs = np.unique(np.stack([session[known], user[known]]), axis=1)
    return np.bincount(pairs[0], minlength=session.max(initial=-1) + 2) > 1


def _first_rows(user: np.ndarray, session: np.ndarray, time: np.ndarray) -> np.ndarray:
    """int64: the row of each event's visit that comes first."""
    order = np.lexsort((time, session, user))
    ordered = (column[order] for column in (user, session, time))
    changes, names, silence = (np.diff(column) for column in ordered)
    fresh = np.append(True, (changes != 0) | (names != 0) | ((session[order][1:] < 0) & (silence >= GAP)))
    first = np.empty(len(order), np.int64)
    first[order] = order[np.flatnonzero(fresh)[np.cumsum(fresh) - 1]]
    return first
