"""The ledger of one database, as commands and workers hold it."""

from __future__ import annotations

from collections.abc import Sequence

from backtrail.errors import UnsuitableDatabase
from backtrail.stores.base import Store, Transaction
from ledger.backend import Backend
from ledger.keyring import Master


class Ledger:
    """The journal, the campaigns and who is at work, of one store."""

    def __init__(self, store: Store, masters: Sequence[Master] = ()) -> None:
        """A ledger.

        Args:
            store: the database.
            masters: the master keys of an encrypted ledger, the first of which wraps; or of one that is to be encrypted.
        """
        self.store = store
        backend = _backend(store, masters)
        self.keyring, self.journal, self.campaigns, self.presence = (
            backend.keyring,
            backend.journal,
            backend.campaigns,
            backend.presence,
        )
        self._backend = backend

    def exists(self, tx: Transaction) -> bool:
        """Whether there is a ledger, so that reading it can mean something.

        Raises:
            LedgerTooNew: it was written by a newer version.
        """
        return self._backend.exists(tx)

    def scrub(self, at_most: int | None, *, keys_only: bool = False) -> int | None:
        """How many bytes the files still have in which earlier versions of rows may lie; None where they were rewritten, and nothing is left.

        Args:
            at_most: nothing larger than this is rewritten; None for no limit.
            keys_only: only a subject's key was destroyed, since nothing of the person ever lay open.
        """
        return self._backend.scrub(at_most, keys_only=keys_only)

    def create(self) -> None:
        """Nothing; there is a ledger, in the form of this version."""
        self._backend.create()


def _backend(store: Store, masters: Sequence[Master]) -> Backend:
    # Each kind is loaded only where it is used: it brings a driver that the others need not have.
    if store.kind == "mongodb":
        from backtrail.stores.mongo.store import MongoStore
        from ledger.mongo.backend import MongoBackend

        if isinstance(store, MongoStore):
            return MongoBackend(store, masters)
    else:
        from backtrail.stores.sql import SqlStore
        from ledger.sql.backend import SqlBackend

        if isinstance(store, SqlStore):
            return SqlBackend(store, masters)
    raise UnsuitableDatabase("there is no ledger for this kind of database")
