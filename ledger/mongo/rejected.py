"""Rejected messages of a ledger on MongoDB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bson.int64 import Int64

from backtrail.stores.base import Transaction
from ledger.mongo.collections import Document, Documents, database_of, session_of, take_ids
from ledger.rejected import Rejection, Rejections


class MongoRejections(Rejections):
    """The documents of rejected messages."""

    def count(self, tx: Transaction) -> int:
        return sum(self.by_fault(tx).values())

    def by_fault(self, tx: Transaction) -> dict[str, int]:
        stages: list[Document] = [
            {"$group": {"_id": "$fault", "count": {"$sum": "$count"}}},
            {"$sort": {"count": -1, "_id": 1}},
        ]
        return {one["_id"]: int(one["count"]) for one in _rejected(tx).aggregate(stages, session=session_of(tx))}

    def clear(self, tx: Transaction) -> int:
        count = self.count(tx)
        _rejected(tx).delete_many({}, session=session_of(tx))
        return count

    def insert(self, tx: Transaction, rejections: Sequence[Rejection]) -> None:
        if rejections:
            ids = take_ids(database_of(tx), "rejected", len(rejections))
            documents = [{"_id": Int64(number), **_stored(one)} for number, one in zip(ids, rejections, strict=True)]
            _rejected(tx).insert_many(documents, session=session_of(tx))

    def take(self, tx: Transaction, newest: int) -> list[Rejection]:
        rejected, session = _rejected(tx), session_of(tx)
        if not list(rejected.find({}, {"_id": 1}, session=session).sort("_id", -1).skip(2 * newest).limit(1)):
            return []
        (oldest,) = rejected.find({}, {"_id": 1}, session=session).sort("_id", -1).skip(newest).limit(1)
        where = {"_id": {"$lte": oldest["_id"]}}
        found = [_shown(one) for one in rejected.find(where, session=session)]
        rejected.delete_many(where, session=session)
        return found

    def latest(self, tx: Transaction, limit: int) -> list[Rejection]:
        found = _rejected(tx).find({}, session=session_of(tx)).sort([("at", -1), ("_id", -1)]).limit(limit)
        return [_shown(one) for one in found]


def _rejected(tx: Transaction) -> Documents:
    return database_of(tx)["rejected"]


def _stored(one: Rejection) -> Document:
    return {name: Int64(value) if isinstance(value, int) else value for name, value in asdict(one).items() if value is not None}


def _shown(document: Document) -> Rejection:
    values: dict[str, Any] = {name: document.get(name) for name in Rejection.__dataclass_fields__}
    values |= {name: int(values[name]) for name in ("at", "count", "size") if values[name] is not None}
    return Rejection(**values)
