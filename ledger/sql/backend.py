"""The ledger of an SQL database."""

from __future__ import annotations

from collections.abc import Sequence

from backtrail.errors import LedgerTooOld
from backtrail.stores.base import Transaction
from backtrail.stores.sql import SqlStore
from ledger.backend import Backend
from ledger.keyring import Keyring, Master
from ledger.sql.campaigns import SqlCampaigns
from ledger.sql.journal import SqlJournal
from ledger.sql.presence import SqlPresence
from ledger.sql.rejected import SqlRejections
from ledger.sql.scrub import scrub
from ledger.sql.upgrade import HEAD, alone, hold, install, upgrade, version
from ledger.sql.vault import SqlVault


class SqlBackend(Backend):
    """The ledger beside the data of an SQL database."""

    def __init__(self, store: SqlStore, masters: Sequence[Master]) -> None:
        self.store = store
        dialect = "postgresql" if store.kind == "postgres" else "sqlite"
        self.keyring = Keyring(SqlVault(dialect), masters)
        self.journal = SqlJournal(dialect, self.keyring)
        self.campaigns = SqlCampaigns(dialect, self.keyring)
        self.presence = SqlPresence(dialect)
        self.rejections = SqlRejections(dialect, self.keyring)

    def exists(self, tx: Transaction) -> bool:
        found = version(tx.connection)
        if found is not None and found != HEAD:
            raise LedgerTooOld(found, HEAD)
        return found is not None

    def within(self, tx: Transaction) -> None:
        if self.exists(tx):
            self.hold(tx)
            return
        alone(tx.connection)
        install(tx, self.keyring)

    def hold(self, tx: Transaction) -> None:
        hold(tx.connection)

    def scrub(self, at_most: int | None, *, keys_only: bool = False) -> int | None:
        return scrub(self.store, at_most, keys_only=keys_only)

    def create(self) -> None:
        upgrade(self.store, self.keyring)
