"""The ledger of a MongoDB database."""

from __future__ import annotations

from collections.abc import Sequence

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from backtrail.errors import LedgerTooOld, Retry
from backtrail.stores.base import Transaction
from backtrail.stores.mongo.store import MongoStore
from ledger.backend import Backend
from ledger.keyring import Keyring, Master
from ledger.mongo.campaigns import MongoCampaigns
from ledger.mongo.collections import database_of, session_of
from ledger.mongo.journal import MongoJournal
from ledger.mongo.presence import MongoPresence
from ledger.mongo.rejected import MongoRejections
from ledger.mongo.uncommitted import UncommittedJournal
from ledger.mongo.upgrade import HEAD, create, version
from ledger.mongo.vault import MongoVault

WAIT_S = 10.0
"""How long a starter waits for others that create the ledger at the same moment."""


class MongoBackend(Backend):
    """The ledger in a database of its own, beside the data's."""

    def __init__(self, store: MongoStore, masters: Sequence[Master]) -> None:
        self.store = store
        self.keyring = Keyring(MongoVault(), masters)
        self.journal = MongoJournal(self.keyring)
        self.campaigns = MongoCampaigns(self.keyring)
        self.presence = MongoPresence()
        self.rejections = MongoRejections(self.keyring)

    def exists(self, tx: Transaction) -> bool:
        found = version(database_of(tx), session_of(tx))
        if found is not None and found != HEAD:
            raise LedgerTooOld(found, HEAD)
        return found is not None

    def within(self, tx: Transaction) -> None:
        self.journal = UncommittedJournal(self.keyring)
        if not self.exists(tx):
            # A transaction makes collections where something is put; indexes it cannot make, and so few documents need none.
            self.keyring.create(tx)

    def hold(self, tx: Transaction) -> None:
        if version(database_of(tx), session_of(tx)) != HEAD:
            raise Retry("the ledger has yet to be upgraded")

    def scrub(self, at_most: int | None, *, keys_only: bool = False) -> int | None:
        # What the server's files and its oplog keep of earlier versions no client can rewrite.
        with self.store.transaction(write=False):
            return int(self.store.ledger_database.command("dbStats")["storageSize"])

    def create(self) -> None:
        # The transaction does nothing: it is there to make the driver's errors ours.
        with self.store.transaction(write=False) as tx:
            create(self.store.ledger_database)
            if self.keyring.complete(tx):
                return
        for attempt in Retrying(
            retry=retry_if_exception_type(Retry),
            wait=wait_random_exponential(multiplier=0.02, max=1),
            stop=stop_after_delay(WAIT_S),
            reraise=True,
        ):
            # Of several starters one is first; the others' transactions conflict, and find its secret the next time.
            with attempt, self.store.transaction() as tx:
                self.keyring.create(tx)
