"""How a ledger lies in one kind of database: the parts that know its tables or collections."""

from __future__ import annotations

from abc import ABC, abstractmethod

from backtrail.stores.base import Transaction
from ledger.campaigns import Campaigns
from ledger.journal import Journal
from ledger.keyring import Keyring
from ledger.presence import Presence
from ledger.rejected import Rejections


class Backend(ABC):
    """The parts of a ledger in one kind of database, and whether it is there at all."""

    keyring: Keyring
    journal: Journal
    campaigns: Campaigns
    presence: Presence
    rejections: Rejections

    @abstractmethod
    def exists(self, tx: Transaction) -> bool:
        """Whether there is a ledger, so that reading it can mean something.

        Raises:
            LedgerTooNew: it was written by a newer version.
            LedgerTooOld: it is in the form of an older one.
        """

    @abstractmethod
    def within(self, tx: Transaction) -> None:
        """Nothing; in this transaction, which never commits, there is a ledger, and nothing of it is kept outside.

        Raises:
            LedgerTooNew, LedgerTooOld: as `exists` says.
        """

    @abstractmethod
    def hold(self, tx: Transaction) -> None:
        """Nothing; the ledger, which is there, stands in the form of this version, and does so to the end of the transaction.

        Raises:
            LedgerTooNew: a newer version has upgraded it meanwhile.
            Retry: it has yet to be upgraded to the form of this version.
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
