"""One starter at a time: a lease that is renewed while its owner is at work, and runs out where it was killed."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bson.int64 import Int64
from pymongo.errors import DuplicateKeyError, PyMongoError

from backtrail.errors import UsageError
from ledger.mongo.collections import Document, LedgerDatabase

log = logging.getLogger(__name__)

LEASE = "expand"
LEASE_MS = 15_000
WAIT_S = 30.0
"""How long another starter waits for its turn."""

REST_S = 0.05

_NOW = {"$toLong": "$$NOW"}


@contextmanager
def alone(database: LedgerDatabase, by: str) -> Iterator[None]:
    """Nobody else changes the schema through this ledger until the end of the block.

    Raises:
        UsageError: somebody does so for longer than one waits.
    """
    owner = uuid.uuid4().hex
    _wait(database, owner, by)
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(database, owner, ended), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        with suppress(PyMongoError):  # it runs out by itself
            database["leases"].update_one({"_id": LEASE, "owner": owner}, {"$set": {"until": Int64(0)}})


def _wait(database: LedgerDatabase, owner: str, by: str) -> None:
    with suppress(DuplicateKeyError):
        free = {"owner": "", "until": Int64(0), "by": ""}
        database["leases"].update_one({"_id": LEASE}, {"$setOnInsert": free}, upsert=True)
    deadline = time.monotonic() + WAIT_S
    while not _take(database, owner, by):
        if time.monotonic() > deadline:
            raise UsageError(_occupied(database["leases"].find_one({"_id": LEASE}) or {}))
        time.sleep(REST_S)


def _take(database: LedgerDatabase, owner: str, by: str) -> bool:
    where = {"_id": LEASE, "$expr": {"$lt": ["$until", _NOW]}}
    values = {"owner": owner, "by": {"$literal": by}, "until": {"$add": [_NOW, LEASE_MS]}}
    return bool(database["leases"].update_one(where, [{"$set": values}]).matched_count)


def _occupied(lease: Document) -> str:
    until = dt.datetime.fromtimestamp(int(lease.get("until", 0)) / 1000, tz=dt.UTC)
    return (
        f"{lease.get('by') or 'somebody'} is expanding or taking back in this database (lease {LEASE!r} until {until:%H:%M:%S} UTC,"
        " renewed while it works): wait for its end, then try again"
    )


def _renew(database: LedgerDatabase, owner: str, ended: threading.Event) -> None:
    while not ended.wait(LEASE_MS / 3000):
        try:
            values = {"until": {"$add": [_NOW, LEASE_MS]}}
            database["leases"].update_one({"_id": LEASE, "owner": owner}, [{"$set": values}])
        except PyMongoError as error:
            log.warning("the lease of expand could not be renewed: %s", type(error).__name__)
