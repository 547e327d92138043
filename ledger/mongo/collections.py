"""The ledger's collections, their indexes, and how the other modules reach them. Times are milliseconds since 1970, UTC."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from pymongo import ASCENDING, IndexModel, ReturnDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

from backtrail.errors import DatabaseFault, Retry
from backtrail.stores.base import Transaction
from ledger.progress import COUNTS

Document = dict[str, Any]
Documents = Collection[Document]
LedgerDatabase = Database[Document]

DUPLICATE = 11000

KEYS = "_keys"
"""What the name of the keys' database ends with; before it stands the name of the ledger's."""

COUNTERS = ("streams", "campaigns", "shapes", "rejected")

INDEXES: dict[str, list[IndexModel]] = {
    "campaigns": [],
    # Everything that is asked about batches without their keys is answered from this index alone.
    "batches": [
        IndexModel(
            [(name, ASCENDING) for name in ("_id.campaign", "state", "_id.number", "wave", "size", *COUNTS)], name="progress"
        )
    ],
    "streams": [
        IndexModel([("migration", ASCENDING), ("key", ASCENDING)], name="key", unique=True),
        IndexModel([("migration", ASCENDING), ("_id", ASCENDING)], name="failed", partialFilterExpression={"failed": True}),
        # Where the key names the person it is found by that.
        IndexModel([("subject", ASCENDING)], name="subject", sparse=True),
    ],
    "shapes": [IndexModel([("body", ASCENDING)], name="body", unique=True)],
    # Only documents that existed before can have been written by somebody else: an event of one that was created has no `ref`.
    "events": [IndexModel([("ref", ASCENDING)], name="ref", sparse=True)],
    "chunks": [],
    "leaves": [IndexModel([("stream", ASCENDING), ("version", ASCENDING)], name="stream", unique=True)],
    "nodes": [],
    "checkpoints": [IndexModel([("signer", ASCENDING), ("size", ASCENDING)], name="signer", unique=True)],
    "recalls": [IndexModel([(name, ASCENDING) for name in ("migration", "key", "label", "digest")], name="call", unique=True)],
    "workers": [],
    "leases": [],
    "rejected": [],
    "counters": [],
    "lookup": [],
    "version": [],
}
"""Every collection of the ledger with its indexes."""


def database_of(tx: Transaction) -> LedgerDatabase:
    """The ledger's database."""
    return cast(LedgerDatabase, tx.connection)


def keys_of(tx: Transaction) -> Documents:
    """The subjects' keys: in a database apart, so that a backup of the ledger need not have the keys that open it."""
    ledger = database_of(tx)
    return ledger.client[ledger.name + KEYS]["subjects"]


def session_of(tx: Transaction) -> ClientSession:
    """The session whose transaction everything goes through."""
    return cast(ClientSession, cast(Any, tx).session)


def take_ids(database: LedgerDatabase, counter: str, number: int) -> range:
    """So many ids that nobody has.

    They are taken outside any transaction, and are lost with one that rolls back: inside, every transaction would wait for every other.
    """
    found = database["counters"].find_one_and_update(
        {"_id": counter}, {"$inc": {"n": Int64(number)}}, return_document=ReturnDocument.AFTER
    )
    if found is None:
        raise DatabaseFault(f"the ledger's counter of {counter} is gone from {database.name}.counters: put it back from a backup")
    last = int(found["n"])
    return range(last + 1 - number, last + 1)


@contextmanager
def first_of(what: str) -> Iterator[None]:
    """A key that is taken leaves as Retry: another transaction was first, and whoever comes second reads again."""
    try:
        yield
    except (DuplicateKeyError, BulkWriteError) as error:
        if not is_duplicate(error):
            raise
        raise Retry(f"another worker was first with {what}") from error


def is_duplicate(error: OperationFailure) -> bool:
    """Whether a key that exists already is what was wrong."""
    if error.code == DUPLICATE:
        return True
    details = error.details or {}
    return any(one.get("code") == DUPLICATE for one in details.get("writeErrors", ()))


def span(first: float, after: float) -> Document:
    """The condition for the `_id` of every event (or chunk) of the streams from `first` up to `after`, without that."""
    # A document that ends sooner comes first: {s: 7} stands before {s: 7, v: …}.
    return {"_id": {"$gte": {"s": first}, "$lt": {"s": after}}}


def spans(streams: Sequence[int]) -> list[Document]:
    """The conditions for the events of the streams: neighbours, as one batch creates them, are one range."""
    found: list[Document] = []
    start: int | None = None
    last = 0
    for stream in sorted(set(streams)):
        if start is not None and stream != last + 1:
            found.append(span(start, last + 1))
            start = None
        start = stream if start is None else start
        last = stream
    if start is not None:
        found.append(span(start, last + 1))
    return found


def up(number: Any) -> int:
    """The number of a stream; of one that is not whole, as somebody made it, the next: so whoever goes on after it comes further."""
    return math.ceil(number.to_decimal() if isinstance(number, Decimal128) else number)


def whole(value: Any) -> int:
    """The number, where it is a whole one as BSON has them; -1, which no field of the ledger holds, for what somebody made of it."""
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else -1
