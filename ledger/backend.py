"""How a ledger lies in one kind of database: the parts that know its tables or collections."""

from __future__ import annotations

from abc import ABC, abstractmethod

from backtrail.stores.base import Transaction
from ledger.campaigns import Campaigns
from ledger.journal import Journal
from ledger.presence import Presence


class Backend(ABC):
    """The parts of a ledger in one kind of database, and whether it is there at all."""

    journal: Journal
    campaigns: Campaigns
    presence: Presence

    @abstractmethod
    def exists(self, tx: Transaction) -> bool:
        """Whether there is a ledger, so that reading it can mean something.

        Raises:
            LedgerTooNew: it was written by a newer version.
        """

    @abstractmethod
    def create(self) -> None:
        """Nothing; there is a ledger, in the form of this version."""
