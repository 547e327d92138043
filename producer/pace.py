"""How fast a campaign is just now, as opposed to since its start."""

from __future__ import annotations

from collections import deque

WINDOW_MS = 10_000
"""Over how long the present rate is taken: batches end in lumps of some hundred entities."""

SHORTEST_MS = 1_000
"""Over less than this nothing is said: two looks may lie on both sides of one lump."""


class Pace:
    """A count that grows, as it was seen in the last seconds."""

    def __init__(self, window_ms: int = WINDOW_MS) -> None:
        self.window_ms = window_ms
        self._seen: deque[tuple[int, int]] = deque()

    def add(self, at: int, count: int) -> None:
        """Nothing; the count was seen at that time, in milliseconds."""
        self._seen.append((at, count))
        # The last one before the window stays: what came since then lies in the window.
        while len(self._seen) > 2 and self._seen[1][0] <= at - self.window_ms:
            self._seen.popleft()

    @property
    def per_s(self) -> float | None:
        """How many came in a second, within the window; None where too little was seen."""
        if not self._seen:
            return None
        (first, before), (last, now) = self._seen[0], self._seen[-1]
        if last - first < SHORTEST_MS:
            return None
        return max(now - before, 0) / (last - first) * 1000


def time_left(pending: int, per_s: float | None) -> float | None:
    """The seconds until nothing is pending at that rate; None where nobody can know."""
    if not pending:
        return 0.0
    return pending / per_s if per_s else None


def duration(seconds: float | None) -> str:
    """A duration as people say it, in its two largest units: `45 s`, `3 h 20 min`; `?` for None."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for unit, name, smaller, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit} {name}" + (f" {rest} {small_name}" if rest and whole < 10 * unit else "")
    raise AssertionError(whole)
