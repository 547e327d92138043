"""The ledger of one database, as commands and workers hold it."""

from __future__ import annotations

from backtrail.errors import UnsuitableDatabase
from backtrail.stores.base import Store, Transaction
from ledger.backend import Backend


class Ledger:
    """The journal, the campaigns and who is at work, of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        backend = _backend(store)
        self.journal, self.campaigns, self.presence = backend.journal, backend.campaigns, backend.presence
        self._backend = backend

    def exists(self, tx: Transaction) -> bool:
        """Whether there is a ledger, so that reading it can mean something.

        Raises:
            LedgerTooNew: it was written by a newer version.
        """
        return self._backend.exists(tx)

    def create(self) -> None:
        """Nothing; there is a ledger, in the form of this version."""
        self._backend.create()


def _backend(store: Store) -> Backend:
    # Each kind is loaded only where it is used: it brings a driver that the others need not have.
    if store.kind == "mongodb":
        from backtrail.stores.mongo.store import MongoStore
        from ledger.mongo.backend import MongoBackend

        if isinstance(store, MongoStore):
            return MongoBackend(store)
    else:
        from backtrail.stores.sql import SqlStore
        from ledger.sql.backend import SqlBackend

        if isinstance(store, SqlStore):
            return SqlBackend(store)
    raise UnsuitableDatabase("there is no ledger for this kind of database")
