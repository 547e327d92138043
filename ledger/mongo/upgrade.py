"""The ledger's collections, created beforehand: inside a transaction they could not be."""

from __future__ import annotations

from bson.int64 import Int64
from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError, OperationFailure

from backtrail.errors import LedgerTooNew, UnsuitableDatabase
from ledger.mongo.collections import COUNTERS, INDEXES, KEYS, LedgerDatabase

HEAD = 3
"""The newest form of the ledger that this version knows."""

OLDEST = 2
"""The oldest form that this version reads. A ledger of 0.1 cannot be given this form: its hashes are over other bytes."""

NAMESPACE_EXISTS = 48


def version(database: LedgerDatabase, session: ClientSession | None = None) -> int | None:
    """The form in which the ledger stands; None where there is none.

    Raises:
        LedgerTooNew: it stands in a form that this version does not know.
    """
    found = database["version"].find_one({"_id": "version"}, session=session)
    step = None if found is None else int(found["step"])
    if step is not None and step > HEAD:
        raise LedgerTooNew(
            f"the ledger was written by a newer version of Backtrail (its step {step}, ours {HEAD}): upgrade this installation"
        )
    if step is not None and step < OLDEST:
        raise UnsuitableDatabase(
            f"the ledger was written by a version before 0.2.0 (its step {step}), whose form nothing reads any more:"
            " end with that version what it began, and drop its ledger"
        )
    return step


def create(database: LedgerDatabase) -> None:
    """Nothing; the ledger stands in its newest form. Any number of starters may do this at once: each step does nothing the second time."""
    if version(database) == HEAD:
        return
    for name, indexes in INDEXES.items():
        _create_collection(database, name)
        if indexes:
            database[name].create_indexes(indexes)
    _create_collection(database.client[database.name + KEYS], "subjects")
    for counter in COUNTERS:
        _insert(database, "counters", {"_id": counter, "n": Int64(0)})
    # Last: where this is, all the rest is.
    database["version"].update_one({"_id": "version"}, {"$max": {"step": HEAD}}, upsert=True)


def _create_collection(database: LedgerDatabase, name: str) -> None:
    try:
        database.command("create", name)
    except OperationFailure as error:
        if error.code != NAMESPACE_EXISTS:
            raise


def _insert(database: LedgerDatabase, collection: str, document: dict[str, object]) -> None:
    try:
        database[collection].update_one({"_id": document["_id"]}, {"$setOnInsert": document}, upsert=True)
    except DuplicateKeyError:
        return  # another starter was faster
