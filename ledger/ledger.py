"""The ledger of one database, as commands and workers hold it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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
        self.keyring, self.journal, self.campaigns = backend.keyring, backend.journal, backend.campaigns
        self.presence, self.rejections = backend.presence, backend.rejections
        self._backend = backend

    def exists(self, tx: Transaction) -> bool:
        """Whether there is a ledger, so that reading it can mean something.

        Raises:
            LedgerTooNew: it was written by a newer version.
            LedgerTooOld: it is in the form of an older one.
        """
        return self._backend.exists(tx)

    def hold(self, tx: Transaction) -> None:
        """Nothing; the ledger, which is there, stands in the form of this version, and does so to the end of the transaction.

        Whoever has it open for long asks this in each transaction: a newer version may upgrade the ledger beside it. On MongoDB an
        upgrade waits for nobody: there it holds for a transaction that begins after the upgrade.

        Raises:
            LedgerTooNew: a newer version has upgraded it meanwhile.
            Retry: it has yet to be upgraded to the form of this version.
        """
        self._backend.hold(tx)

    def within(self, tx: Transaction) -> Ledger:
        """A ledger for this transaction alone, which never commits: made in it where there is none, and all that it keeps goes with it."""
        own = Ledger(self.store, self.keyring.masters)
        own._backend.within(tx)
        own.journal = own._backend.journal
        return own

    @contextmanager
    def writing(self, *, small: bool = False) -> Iterator[Transaction]:
        """A transaction in which the ledger is written, in the form of this version.

        Args:
            small: as for `Store.transaction`.

        Raises:
            LedgerTooNew: a newer version has upgraded it meanwhile.
            Retry: it has yet to be upgraded to the form of this version.
        """
        with self.store.transaction(small=small) as tx:
            self.hold(tx)
            yield tx

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
