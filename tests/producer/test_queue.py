"""When the queue says that messages must be missing."""

from __future__ import annotations

import pytest
import redis

from producer import queue
from producer.queue import LONGEST_QUIET_S, QUIET_S, Queue, Quiet


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def when_missing(quiet: Quiet, clock: Clock, seconds: int, sent: int = 3, waiting: int = 0) -> list[int]:
    """The seconds at which messages are said to be missing, looked at each second."""
    begin, told = int(clock.now), []
    for second in range(begin + 1, begin + seconds + 1):
        clock.now = second
        if quiet.too_long(waiting, lambda: sent):
            told.append(second - begin)
    return told


def test_silence_is_told_at_ever_longer_intervals() -> None:
    """While nothing waits and nothing moves, it is said after 10 s, then twice as long each time, up to two minutes: no storm."""
    clock = Clock()
    assert when_missing(Quiet(clock), clock, 500) == [11, 31, 71, 151, 271, 391]
    assert (QUIET_S, LONGEST_QUIET_S) == (10, 120)


def test_what_waits_or_moves_is_no_silence() -> None:
    """Messages that wait, nothing that was sent, a batch that ends and one that is sent each begin the silence anew."""
    clock = Clock()
    quiet = Quiet(clock)
    assert when_missing(quiet, clock, 60, waiting=1) == []
    assert when_missing(quiet, clock, 60, sent=0) == []
    assert [second for sent in range(40, 0, -1) for second in when_missing(quiet, clock, 9, sent)] == []
    quiet.published()
    assert when_missing(quiet, clock, 9, sent=1) == []


def test_what_is_sent_again_in_vain_is_no_movement() -> None:
    """A batch that takes minutes is sent again ever more rarely, and not every ten seconds; the next one begins anew."""
    clock = Clock()
    quiet = Quiet(clock)
    told = []
    for second in range(1, 301):
        clock.now = second
        if quiet.too_long(0, lambda: 1):
            told.append(second)
            quiet.published()
    assert told == [11, 31, 71, 151, 271]
    assert when_missing(quiet, clock, 15, sent=2) == [11]


def test_a_queue_of_redis_that_was_emptied(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis with its queue deleted is no other server, and yet messages are missing."""
    monkeypatch.setattr(queue, "LOOK_S", 0)
    one, clock = Queue(broker, "bt"), Clock()
    one._quiet = Quiet(clock)
    assert one.forgot(lambda: 2)  # a server that was never met may have forgotten
    one.publish(1, [1, 2])
    clock.now = 100
    assert not one.forgot(lambda: 2)
    with redis.Redis.from_url(broker) as client:
        assert client.delete("bt") == 1
    assert [one.forgot(lambda: 2), one.forgot(lambda: 0)] == [False, False]
    clock.now = 120
    assert [one.forgot(lambda: 0), one.forgot(lambda: 2)] == [False, False]
    clock.now = 140
    assert one.forgot(lambda: 2)
