"""Workers and leases of a ledger on MongoDB."""

from __future__ import annotations

import json
from typing import Any

from bson.int64 import Int64

from backtrail.stores.base import Transaction
from ledger.mongo.collections import Documents, database_of, first_of, session_of
from ledger.presence import ALIVE_MS, LEASE_MS, Presence, Worker, milliseconds


class MongoPresence(Presence):
    """The documents of workers and leases."""

    def show(self, tx: Transaction, worker: str, info: dict[str, Any]) -> None:
        workers, session, now = _workers(tx), session_of(tx), milliseconds(tx)
        values = {"seen_at": Int64(now), "info": json.dumps(info)}
        with first_of("this worker's name"):
            workers.update_one({"_id": worker}, {"$set": values}, upsert=True, session=session)
        workers.delete_many({"seen_at": {"$lt": now - 20 * ALIVE_MS}}, session=session)

    def leave(self, tx: Transaction, worker: str) -> None:
        _workers(tx).delete_one({"_id": worker}, session=session_of(tx))
        _leases(tx).update_many({"owner": worker}, {"$set": {"until": Int64(0)}}, session=session_of(tx))

    def alive(self, tx: Transaction) -> list[Worker]:
        seen = {"seen_at": {"$gt": milliseconds(tx) - ALIVE_MS}}
        found = _workers(tx).find(seen, session=session_of(tx)).sort("_id", 1)
        return [Worker(one["_id"], int(one["seen_at"]), json.loads(one["info"])) for one in found]

    def leader(self, tx: Transaction, name: str) -> str | None:
        found = _leases(tx).find_one({"_id": name, "until": {"$gt": milliseconds(tx)}}, session=session_of(tx))
        return None if found is None else str(found["owner"])

    def lead(self, tx: Transaction, name: str, owner: str, lasting: int = LEASE_MS) -> int | None:
        leases, session, now = _leases(tx), session_of(tx), milliseconds(tx)
        # Of two that have read the same lease, the second to write it conflicts with the first, and reads again.
        lease = leases.find_one({"_id": name}, session=session)
        if lease is None:
            lease = {"_id": name, "owner": "", "until": Int64(0), "fence": Int64(0)}
            with first_of("this lease"):
                leases.insert_one(lease, session=session)
        if lease["owner"] != owner and lease["until"] > now:
            return None
        fence = int(lease["fence"]) + int(lease["owner"] != owner)
        values = {"owner": owner, "until": Int64(now + lasting), "fence": Int64(fence)}
        leases.update_one({"_id": name}, {"$set": values}, session=session)
        return fence


def _workers(tx: Transaction) -> Documents:
    return database_of(tx)["workers"]


def _leases(tx: Transaction) -> Documents:
    return database_of(tx)["leases"]
