"""How many entities go into one transaction, so that it holds its locks for a moment only, however long a migration takes to decide."""

from __future__ import annotations

import time
from collections.abc import Callable

HOLD_S = 0.4
"""How long a transaction should hold locks for which the application may be waiting."""

OPEN_S = 1.0
"""How long a transaction should last where what it reads stays free: hardly half of it is left for locks, after reading and deciding."""

WHOLE = 4
"""How much more it costs to do a whole transaction once more than its writes alone."""

FEWEST = 25
"""Fewer entities than this are not worth a transaction because somebody is refused now and then."""

FIRST = 50
"""How many entities of a campaign a process takes at first, when it does not know how long they take."""


class TooLong(Exception):
    """Deciding takes longer than locks should be held: nothing was written yet, and the transaction is made anew with fewer entities."""

    def __init__(self, decided: int) -> None:
        super().__init__(f"{decided} entities")
        self.decided = decided


class Portion:
    """What a worker process has learnt of how long a campaign's entities take."""

    def __init__(self, hold_s: float = HOLD_S, clock: Callable[[], float] = time.perf_counter) -> None:
        self.hold_s = hold_s
        self._clock = clock
        self._limit = FIRST
        self._since: float | None = None
        self._again = 0

    def of(self, number: int) -> int:
        """How many of so many entities to take at once."""
        return min(number, self._limit)

    def begin(self) -> None:
        """Nothing; a transaction begins."""
        self._since = self._clock()

    def demand_time(self, decided: int) -> None:
        """Nothing, where the transaction may go on deciding.

        Raises:
            TooLong: it has had its time with so many entities, and there are more.
        """
        if self._since is not None and self._clock() - self._since > self.hold_s:
            # What was decided has yet to be written, so that half of them is rather what fits.
            self._limit = max(1, decided // 2)
            raise TooLong(decided)

    def refused(self, *, whole: bool) -> None:
        """Nothing; the database would not have an entity, and the others of the transaction are done once more: all that was done, or its writes."""
        self._again += WHOLE if whole else 1

    def end(self, number: int) -> None:
        """Nothing; the transaction was committed, with so many entities, and the next one may be larger or has to be smaller."""
        if self._since is None or number == 0:
            return
        took, self._since = self._clock() - self._since, None
        again, self._again = self._again, 0
        if took > self.hold_s:
            self._limit = max(1, int(number * self.hold_s / took))
        elif again:
            # Whoever is refused makes all others of the transaction wait: where that is many, it shall be fewer others.
            self._limit = min(self._limit, max(FEWEST, number // again))
        elif number >= self._limit and took < self.hold_s / 2:
            self._limit = 2 * number
