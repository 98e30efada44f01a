"""Who waits for the slot, who is refused at once, and when a worker counts as congested."""

from dataclasses import dataclass

import pytest

from serving.admission_queue import AdmissionQueue

SECONDS = 0.02  # what a request takes


@dataclass(eq=False)
class Entry:
    arrived: float = 0.0
    route: str = "/v1/rank"


class Time:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def queue(time):
    """One that has seen a request of 20 ms."""
    made = AdmissionQueue(longest=0.105, standing=0.005, clock=time)
    run(made, time)
    return made


def run(queue, time, seconds=SECONDS):
    assert queue.offer(Entry(time.now))
    queue.take()
    time.now += seconds
    queue.finish()


def test_a_burst_waits_as_long_as_bounded_and_the_next_is_refused(queue, time):
    entries = [Entry(time.now) for _ in range(9)]
    assert queue.offer(entries[0])
    queue.take()
    assert [queue.offer(entry) for entry in entries[1:]] == [True] * 5 + [False] * 3  # the next would wait for .12 s
    assert [queue.take() for _ in range(5)] == entries[1:6]  # first in, first out


def test_a_congested_slot_lets_wait_who_is_nearly_next_until_it_was_idle(queue, time):
    for _ in range(8):
        queue.offer(Entry(time.now))
    while len(queue):
        queue.take()
        time.now += SECONDS
        queue.finish()
    assert queue.offer(Entry(time.now))
    queue.take()
    assert not queue.offer(Entry(time.now))  # it would wait for 20 ms
    time.now += 0.016
    assert queue.offer(Entry(time.now))  # 4 ms
    assert not queue.offer(Entry(time.now))
    queue.finish()
    queue.take()
    time.now += SECONDS
    queue.finish()
    time.now += SECONDS  # idle for as long as a request takes
    assert queue.offer(Entry(time.now))
    queue.take()
    assert queue.offer(Entry(time.now))


def test_who_cannot_be_reached_within_the_callers_time_is_refused(queue, time):
    assert queue.offer(Entry(time.now), within=0.0)  # the slot is free
    queue.take()
    assert not queue.offer(Entry(time.now), within=0.015)
    assert queue.offer(Entry(time.now), within=0.025)


def test_what_waits_behind_a_stuck_request_is_overdue(queue, time):
    first, second = Entry(time.now), Entry(time.now)
    queue.offer(first)
    queue.take()
    queue.offer(second)
    time.now += 0.09
    assert queue.overdue() == []
    time.now += 0.02
    assert queue.overdue() == [second]
    assert (len(queue), queue.running_for) == (0, pytest.approx(0.11))


def test_what_is_withdrawn_waits_no_more_and_what_comes_first_does(queue, time):
    first, second, probe = Entry(time.now), Entry(time.now), Entry(time.now, "/metrics")
    for entry in (first, second):
        queue.offer(entry)
    queue.put_first(probe)
    assert queue.withdraw(first)
    assert not queue.withdraw(first)
    queue.close()
    assert [queue.take(), queue.take(), queue.take()] == [probe, second, None]


def test_a_mean_follows_its_route(queue, time):
    run(queue, time, seconds=0.12)
    assert queue.offer(Entry(time.now))
    queue.take()
    assert not queue.offer(Entry(time.now), within=0.029)  # .02 + .1 (.12 - .02)
    assert queue.offer(Entry(time.now), within=0.031)
