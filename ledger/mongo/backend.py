"""The ledger of a MongoDB database."""

from __future__ import annotations

from backtrail.stores.base import Transaction
from backtrail.stores.mongo.store import MongoStore
from ledger.backend import Backend
from ledger.mongo.campaigns import MongoCampaigns
from ledger.mongo.collections import database_of, session_of
from ledger.mongo.journal import MongoJournal
from ledger.mongo.presence import MongoPresence
from ledger.mongo.upgrade import HEAD, create, version


class MongoBackend(Backend):
    """The ledger in a database of its own, beside the data's."""

    def __init__(self, store: MongoStore) -> None:
        self.store = store
        self.journal = MongoJournal()
        self.campaigns = MongoCampaigns()
        self.presence = MongoPresence()

    def exists(self, tx: Transaction) -> bool:
        return version(database_of(tx), session_of(tx)) == HEAD

    def create(self) -> None:
        # The transaction does nothing: it is there to make the driver's errors ours.
        with self.store.transaction(write=False):
            create(self.store.ledger_database)
