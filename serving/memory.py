"""Memory of a worker whose bundle has changed: what the one before held goes back to the system.

An engine is part of reference cycles, which Python frees at its next full collection, long after; and what is freed
lies in pieces between what is used, so that the allocator keeps it until it is told to give it back. What serves is
taken out of further collections: it lives until the next change, and looking at it takes longer than an answer.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from contextlib import suppress

TRIES, WAIT = 20, 0.1  # an answer that has begun holds the engine that is left; seconds between two tries


def settle(left: Callable[[], object] = lambda: None) -> None:
    """Free what is unused, in the thread that loaded the new bundle; `left` gives the engine that served until now."""
    gc.unfreeze()
    for _ in range(TRIES):
        gc.collect()
        if left() is None:
            gc.freeze()
            break
        time.sleep(WAIT)
    with suppress(OSError, AttributeError):  # other C libraries than glibc have no such call
        ctypes.CDLL(None).malloc_trim(0)
