"""How fast a campaign may go: batches are sent so that no more entities begin in a second than somebody said."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from backtrail.errors import UsageError
from ledger.campaigns import Campaign

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
    """How many batches of each campaign may be sent just now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._saved: dict[int, tuple[float, float]] = {}

    def allowed(self, campaign: Campaign, sent: int, high: int) -> int:
        """So many batches may be sent now: up to the high water mark, or as many as the campaign's rate leaves.

        Args:
            campaign: with its rate, in entities a second.
            sent: how many of its batches are in the queue or being done.
            high: how many may be.
        """
        rate: float | None = campaign.options.get("rate")
        if rate is None:
            return max(0, high - sent)
        size, now = batch_size(campaign), self._clock()
        # What was not used is saved for a second, and no longer: workers that were away for an hour must not catch up at once.
        saved, at = self._saved.get(campaign.id, (float(size), now))
        saved = min(saved + (now - at) * rate, max(size, rate))
        self._saved[campaign.id] = saved, now
        under_way = max(2, round(2 * rate / size))
        return max(0, min(int(saved // size), under_way - sent, high - sent))

    def spent(self, campaign: Campaign, batches: int) -> None:
        """Nothing; so many batches were sent."""
        if campaign.id in self._saved:
            saved, at = self._saved[campaign.id]
            self._saved[campaign.id] = saved - batches * batch_size(campaign), at

    def keep(self, campaigns: set[int]) -> None:
        """Nothing; those that are no more under way are forgotten."""
        self._saved = {number: saved for number, saved in self._saved.items() if number in campaigns}
