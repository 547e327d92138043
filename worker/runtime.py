"""What one worker process holds: made after the fork, on the first batch, and never inherited."""

from __future__ import annotations

import os
from collections import OrderedDict

from backtrail.errors import UnknownName
from backtrail.settings import Settings
from backtrail.stores import open_store
from ledger.ledger import Ledger
from worker.work import Work, load

REMEMBERED = 16
"""How many campaigns' code and tables a process keeps at hand."""


class Runtime:
    """The store, the ledger and the campaigns of this process."""

    def __init__(self, settings: Settings) -> None:
        self.store = open_store(settings.database(), lock_timeout_ms=settings.lock_timeout_ms)
        self.ledger = Ledger(self.store)
        self._works: OrderedDict[int, Work] = OrderedDict()

    def work(self, campaign: int) -> Work:
        """The campaign, ready to be worked on; loaded once.

        Raises:
            UnknownName: there is no such campaign.
            OtherCode, Halt: as `load` says.
        """
        work = self._works.get(campaign)
        if work is None:
            with self.store.transaction(write=False) as tx:
                found = self.ledger.campaigns.get(tx, campaign) if self.ledger.exists(tx) else None
            if found is None:
                raise UnknownName("campaign", f"c{campaign}", ())
            work = self._works[campaign] = load(self.store, self.ledger, found)
            while len(self._works) > REMEMBERED:
                self._works.popitem(last=False)
        return work

    def forget(self, campaign: int) -> None:
        """Nothing; the campaign is loaded anew next time."""
        self._works.pop(campaign, None)


_runtimes: dict[int, Runtime] = {}


def runtime(settings: Settings) -> Runtime:
    """This process's runtime. One that a parent left behind by forking is not used: its connections are the parent's."""
    own = _runtimes.get(os.getpid())
    if own is None:
        own = _runtimes[os.getpid()] = Runtime(settings)
    return own
