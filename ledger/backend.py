"""How a ledger lies in one kind of database: the parts that know its tables or collections."""

from __future__ import annotations

from abc import ABC, abstractmethod

from backtrail.stores.base import Transaction
from ledger.campaigns import Campaigns
from ledger.journal import Journal
from ledger.keyring import Keyring
from ledger.presence import Presence


class Backend(ABC):
    """The parts of a ledger in one kind of database, and whether it is there at all."""

    keyring: Keyring
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
    def scrub(self, at_most: int | None, *, keys_only: bool = False) -> int | None:
        """How many bytes the files still have in which earlier versions of rows may lie; None where they were rewritten, and nothing is left.

        Args:
            at_most: nothing larger than this is rewritten; None for no limit.
            keys_only: only a subject's key was destroyed, since nothing of the person ever lay open.
        """

    @abstractmethod
    def create(self) -> None:
        """Nothing; there is a ledger, in the form of this version."""
