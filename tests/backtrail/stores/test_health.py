"""How old a position in a log is, by a clock of the test's own."""

from __future__ import annotations

from backtrail.stores.health import Trail


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_replica_that_stands_still_grows_older() -> None:
    """The lag is the time since the primary was first seen past the replica, and nothing once the replica is there."""
    clock = Clock()
    trail = Trail(clock)
    found = []
    for second, primary, replica in ((0, 10, 10), (5, 20, 10), (10, 30, 10), (15, 40, 20), (20, 40, 30), (25, 40, 40)):
        clock.now = 100.0 + second
        found.append(trail.behind(primary, [replica, 99]))
    assert found == [0.0, 0.0, 5.0, 5.0, 5.0, 0.0]


def test_an_idle_primary_makes_nobody_late() -> None:
    """A replica that has everything is not behind, however long nothing was written; then it is late from that write on."""
    clock = Clock()
    trail = Trail(clock)
    assert trail.behind(10, [10]) == 0.0
    clock.now += 1000
    assert trail.behind(10, [10]) == 0.0
    assert trail.behind(11, [10]) == 0.0
    clock.now += 3
    assert trail.behind(12, [10]) == 3.0


def test_without_replicas_there_is_no_lag() -> None:
    """Without a replica there is no figure, and one that comes later is not blamed for the time before."""
    clock = Clock()
    trail = Trail(clock)
    assert trail.behind(10, []) is None
    clock.now += 50
    assert trail.behind(20, [5]) == 0.0
    clock.now += 2
    assert trail.behind(20, [5]) == 2.0
