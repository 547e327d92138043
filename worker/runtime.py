"""What one worker process holds: made after the fork, on the first batch, and never inherited."""

from __future__ import annotations

import gc
import os
from collections import OrderedDict

from backtrail.errors import Retry
from backtrail.settings import Settings
from backtrail.stores import open_store
from backtrail.stores.base import Transaction
from ledger.campaigns import Campaign
from ledger.keyring import read_masters
from ledger.ledger import Ledger
from worker.work import Work, load

REMEMBERED = 16
"""How many campaigns' code and tables a process keeps at hand."""


class Runtime:
    """The store, the ledger and the campaigns of this process."""

    def __init__(self, settings: Settings) -> None:
        self.store = open_store(settings.database(), lock_timeout_ms=settings.lock_timeout_ms)
        self.ledger = Ledger(self.store, read_masters(settings.master_key_file))
        self.refusals = 0
        """How many batches it has refused since it last did one."""
        self._has_ledger = False
        self._works: OrderedDict[int, Work] = OrderedDict()

    def demand_ledger(self, tx: Transaction) -> None:
        """Nothing; there is a ledger in the form of this version.

        Raises:
            LedgerTooNew: a newer version has upgraded it meanwhile.
            Retry: the companion has yet to make or upgrade it.
        """
        if not self._has_ledger and not self.ledger.exists(tx):
            raise Retry("there is no ledger of this version yet")
        self.ledger.hold(tx)
        self._has_ledger = True

    def work(self, campaign: Campaign) -> Work:
        """The campaign, ready to be worked on; loaded once, and again when it goes on with mended code.

        Args:
            campaign: as it stands in the database now.

        Raises:
            OtherCode, Halt: as `load` says.
        """
        work = self._works.get(campaign.id)
        if work is None or work.campaign.fingerprint != campaign.fingerprint:
            work = self._works[campaign.id] = load(self.store, self.ledger, campaign)
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
        # A batch makes some ten thousand objects and next to no circles: looking for those after every 700 took 6 % of all time.
        gc.freeze()
        gc.set_threshold(20_000, 10, 10)
    return own
