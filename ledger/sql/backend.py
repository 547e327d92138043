"""The ledger of an SQL database."""

from __future__ import annotations

from backtrail.stores.base import Transaction
from backtrail.stores.sql import SqlStore
from ledger.backend import Backend
from ledger.sql.campaigns import SqlCampaigns
from ledger.sql.journal import SqlJournal
from ledger.sql.presence import SqlPresence
from ledger.sql.upgrade import HEAD, upgrade, version


class SqlBackend(Backend):
    """The ledger beside the data of an SQL database."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        dialect = "postgresql" if store.kind == "postgres" else "sqlite"
        self.journal = SqlJournal(dialect)
        self.campaigns = SqlCampaigns(dialect)
        self.presence = SqlPresence(dialect)

    def exists(self, tx: Transaction) -> bool:
        return version(tx.connection) == HEAD

    def create(self) -> None:
        upgrade(self.store)
