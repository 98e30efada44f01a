"""Brokers for tests: a small one that is started, or those that VALUE_MODEL_KAFKA names."""

import os
import uuid
from contextlib import contextmanager

from benchmarks.small_broker import SmallBroker
from marketplace.kafka.client import Brokers

QUICK = {"session.timeout.ms": "1000", "heartbeat.interval.ms": "200"}  # the small broker makes new members wait


@contextmanager
def running_brokers(folder):
    """The brokers, and the small one among them, None = they are real."""
    place, prefix = os.environ.get("VALUE_MODEL_KAFKA"), f"test-{uuid.uuid4().hex[:8]}."
    if place:
        yield Brokers.of(place, prefix=prefix), None
        return
    small = SmallBroker(folder / "broker.log")
    small.start()
    try:
        yield Brokers.of(small.address, prefix=prefix), small
    finally:
        small.kill()
