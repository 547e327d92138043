"""The ledger of one database, as commands and workers hold it."""

from __future__ import annotations

from backtrail.errors import UnsuitableDatabase
from backtrail.stores.base import Store, Transaction
from backtrail.stores.sql import SqlStore
from ledger.campaigns import Campaigns
from ledger.journal import Journal
from ledger.presence import Presence
from ledger.upgrade import HEAD, upgrade, version


class Ledger:
    """The journal, the campaigns and who is at work, of one store."""

    def __init__(self, store: Store) -> None:
        if not isinstance(store, SqlStore):
            raise UnsuitableDatabase("there is no ledger for this kind of database")
        self.store = store
        dialect = "postgresql" if store.kind == "postgres" else "sqlite"
        self.journal = Journal(dialect)
        self.campaigns = Campaigns(dialect)
        self.presence = Presence(dialect)

    def exists(self, tx: Transaction) -> bool:
        """Whether there is a ledger, so that reading it can mean something.

        Raises:
            LedgerTooNew: it was written by a newer version.
        """
        return version(tx.connection) == HEAD

    def create(self) -> None:
        """Nothing; there is a ledger, in the form of this version."""
        assert isinstance(self.store, SqlStore)  # noqa: S101 -- as the constructor has seen
        upgrade(self.store)
