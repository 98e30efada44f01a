"""Memory of a worker whose bundle has changed: what the one before held goes back to the system.

An engine is part of no reference cycle, so that it is freed as its last answer ends. A search for cycles writes to
every object that it looks at: in a fork of a process that loaded the bundle it would make a private copy of what the
workers share (the modules alone are tens of MiB), so it looks at what has come since the last change and no further.
What serves is then taken out of further searches: it lives until the next change, and looking at it takes longer than
an answer. What is freed lies in pieces between what is used, so that the allocator keeps it until it is told to give
it back.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from contextlib import suppress

import pyarrow as pa

TRIES, WAIT = 20, 0.1  # an answer that has begun holds the engine that is left; seconds between two tries


def settle(left: Callable[[], object] = lambda: None) -> None:
    """Free what is unused, in the thread that loaded the new bundle; `left` gives the engine that served until now."""
    for _ in range(TRIES):
        if left() is None:
            break
        time.sleep(WAIT)
    else:
        gc.unfreeze()  # whatever holds it may be a cycle
    gc.collect()
    gc.freeze()
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # other C libraries than glibc have no such call
        ctypes.CDLL(None).malloc_trim(0)
