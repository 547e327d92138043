"""How the database bears what is done to it: replicas that fall behind, connections that run out, others who wait for our locks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

KEPT = 4096
"""How many positions are remembered: hours, at one every few seconds."""


@dataclass(frozen=True, slots=True)
class Health:
    """What a look at the database showed; None for what it does not have, or does not show to this user."""

    replication_lag_s: float | None = None
    """By how many seconds the worst replica that is connected is behind; None where there is no replica."""
    connections_share: float | None = None
    """Which share of the connections that a plain user can have is in use."""
    lock_waits: int | None = None
    """How many sessions of others wait for locks that Backtrail's hold."""
    hidden: str | None = None
    """What this user may not see, and what to grant."""


class Trail:
    """Where the log of the primary was when, so that a position in it has an age.

    The servers' own figures are not enough: PostgreSQL's stand still together with a replica that does, and MongoDB's leap by the 10 s
    between two entries of an idle primary.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, Any]] = deque(maxlen=KEPT)

    def behind(self, primary: Any, replicas: Iterable[Any]) -> float | None:
        """For how long at least the primary has been past the last of the replicas' positions; None without replicas.

        It is exact to the time between two calls. Positions are of any type that has an order.
        """
        now = self._clock()
        if not self._seen or self._seen[-1][1] < primary:
            self._seen.append((now, primary))
        slowest = min(replicas, default=None)
        if slowest is None:
            self._seen.clear()
            return None
        # Whatever all replicas have is not asked for again.
        while len(self._seen) > 1 and self._seen[0][1] <= slowest:
            self._seen.popleft()
        since, position = self._seen[0]
        return now - since if position > slowest else 0.0
