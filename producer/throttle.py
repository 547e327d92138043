"""How fast a campaign may go: batches are sent so that no more entities begin in a second than somebody said."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from backtrail.errors import UsageError
from ledger.campaigns import Batch, Campaign

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/\s*(s|min|h))?\Z")
_SECONDS = {None: 1, "s": 1, "min": 60, "h": 3600}


def parse_rate(text: str) -> float:
    """The entities a second that `50/s`, `50`, `3000/min` or `1000/h` means.

    Raises:
        UsageError: it means none.
    """
    match = _RATE.match(text.strip())
    rate = float(match[1]) / _SECONDS[match[2]] if match else 0.0
    if rate <= 0:
        raise UsageError(f"--rate {text} is no rate: write entities a second as 50/s, or 3000/min, or 1000/h")
    return rate


def batch_size(campaign: Campaign) -> int:
    """How many entities a batch of the campaign has: no more than a second's worth where it has a rate, so that they come evenly."""
    size, rate = int(campaign.options["batch_size"]), campaign.options.get("rate")
    return size if rate is None else max(1, min(size, int(rate)))


class Throttle:
    """Which batches of each campaign may be sent just now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._saved: dict[int, tuple[float, float]] = {}

    def allowed(self, campaign: Campaign, batches: Sequence[Batch], under_way: int) -> list[Batch]:
        """The first of the batches, as many as the campaign's rate leaves just now; all where it has none.

        One that was cut for a higher rate is sent when a batch of today's size would be; then nothing is until the average holds again.

        Args:
            campaign: with its rate, in entities a second.
            batches: those that are to be sent.
            under_way: how many entities are in the queue or being done.
        """
        rate: float | None = campaign.options.get("rate")
        if rate is None:
            return list(batches)
        size, now = batch_size(campaign), self._clock()
        # What was not used is saved for a second, and no longer: workers that were away for an hour must not catch up at once.
        most = max(size, rate)
        saved, at = self._saved.get(campaign.id, (float(size), now))
        saved = min(saved + (now - at) * rate, most)
        self._saved[campaign.id] = saved, now
        found = []
        for batch in batches:
            if saved < min(batch.size, size) or (under_way and under_way + batch.size > 2 * most):
                break
            found.append(batch)
            saved, under_way = saved - batch.size, under_way + batch.size
        return found

    def spent(self, campaign: Campaign, batches: Sequence[Batch]) -> None:
        """Nothing; these batches were sent, and are charged, be it more than was saved."""
        if campaign.id in self._saved:
            saved, at = self._saved[campaign.id]
            self._saved[campaign.id] = saved - sum(batch.size for batch in batches), at

    def keep(self, campaigns: set[int]) -> None:
        """Nothing; those that are no more under way are forgotten."""
        self._saved = {number: saved for number, saved in self._saved.items() if number in campaigns}
