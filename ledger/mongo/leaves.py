"""Sealed heads on MongoDB."""

from __future__ import annotations

from collections.abc import Sequence

from bson.int64 import Int64

from backtrail.stores.base import Transaction
from ledger.leaves import Kept, Leaf, Leaves, Unsealed, leaf_of, text_of, unsealed_of
from ledger.merkle import Node
from ledger.mongo.collections import Document, Documents, database_of, first_of, session_of, up, whole
from ledger.streams import LAST


class MongoLeaves(Leaves):
    """The documents of leaves, nodes and checkpoints."""

    # -- leaves ---------------------------------------------------------------------------------------------------

    def size(self, tx: Transaction) -> int:
        last = next(_in(tx, "leaves").find({}, {"_id": 1}, session=session_of(tx)).sort("_id", -1).limit(1), None)
        return 0 if last is None else int(last["_id"]) + 1

    def add(self, tx: Transaction, leaves: Sequence[Leaf]) -> None:
        documents = [
            {
                "_id": Int64(leaf.number),
                "stream": Int64(leaf.stream),
                "migration": leaf.migration,
                "version": leaf.version,
                "head": leaf.head,
            }
            for leaf in leaves
        ]
        with first_of("one of these leaves"):
            _in(tx, "leaves").insert_many(documents, session=session_of(tx))

    def read(self, tx: Transaction, first: int, count: int) -> list[Leaf]:
        where = {"_id": {"$gte": first, "$lt": first + count}}
        return [_leaf(one) for one in _in(tx, "leaves").find(where, session=session_of(tx)).sort("_id", 1)]

    def of(self, tx: Transaction, stream: int, size: int) -> Leaf | None:
        where = {"stream": stream, "_id": {"$lt": size}}
        found = next(_in(tx, "leaves").find(where, session=session_of(tx)).sort("version", -1).limit(1), None)
        return None if found is None else _leaf(found)

    # -- the tree -------------------------------------------------------------------------------------------------

    def nodes(self, tx: Transaction, level: int, first: int, count: int) -> list[Node]:
        where = {"_id": {"$gte": {"l": level, "n": first}, "$lt": {"l": level, "n": first + count}}}
        found = _in(tx, "nodes").find(where, session=session_of(tx)).sort("_id", 1)
        return [Node(level, whole(one["_id"]["n"]), _bytes(one.get("hash"))) for one in found]

    def add_nodes(self, tx: Transaction, nodes: Sequence[Node]) -> None:
        documents = [{"_id": {"l": node.level, "n": Int64(node.number)}, "hash": node.hash} for node in nodes]
        with first_of("these nodes"):
            _in(tx, "nodes").insert_many(documents, session=session_of(tx))

    def checkpoint(self, tx: Transaction, signer: str | None = None) -> Kept | None:
        where = {} if signer is None else {"signer": signer}
        newest = [("size", -1), ("at", -1)]
        found = next(_in(tx, "checkpoints").find(where, {"_id": 0}, session=session_of(tx)).sort(newest).limit(1), None)
        return None if found is None else Kept(**found)

    def add_checkpoint(self, tx: Transaction, kept: Kept) -> None:
        document = kept._asdict() | {"size": Int64(kept.size), "at": Int64(kept.at)}
        with first_of("this checkpoint"):
            _in(tx, "checkpoints").insert_one(document, session=session_of(tx))

    # -- streams --------------------------------------------------------------------------------------------------

    def window(self, tx: Transaction, after: int, limit: int) -> int | None:
        some = (
            _in(tx, "streams")
            .find({"_id": {"$gt": after, "$lte": LAST}}, {"_id": 1}, session=session_of(tx))
            .sort("_id", 1)
            .limit(limit)
        )
        last = None
        for one in some:
            last = up(one["_id"])
        return last

    def unsealed(self, tx: Transaction, after: int, until: int, size: int | None = None) -> list[Unsealed]:
        span = {"$gt": after, "$lte": until}
        sealed = self._last(tx, {"stream": span} if size is None else {"stream": span, "_id": {"$lt": size}})
        fields = {"migration": 1, "key": 1, "version": 1}
        found: list[Unsealed] = []
        for one in _in(tx, "streams").find({"_id": span}, fields, session=session_of(tx)).sort("_id", 1):
            number, version = up(one["_id"]), whole(one.get("version"))
            leaf = sealed.get(number)
            if leaf is None or leaf.version != version:
                found.append(unsealed_of(number, one.get("migration"), one.get("key"), version, leaf))
        return found

    def _last(self, tx: Transaction, where: Document) -> dict[int, Leaf]:
        stages: list[Document] = [
            {"$match": where},
            {"$sort": {"stream": 1, "version": 1}},
            {"$group": {"_id": "$stream", "leaf": {"$last": "$$ROOT"}}},
        ]
        found = _in(tx, "leaves").aggregate(stages, session=session_of(tx))
        return {leaf.stream: leaf for leaf in (_leaf(one["leaf"]) for one in found)}

    def among(self, tx: Transaction, after: int, until: int | None, size: int) -> list[Leaf]:
        span = {"$gt": after} if until is None else {"$gt": after, "$lte": until}
        found = _in(tx, "leaves").find({"stream": span, "_id": {"$lt": size}}, session=session_of(tx))
        return [_leaf(one) for one in found.sort([("stream", 1), ("version", 1)])]

    def migrations(self, tx: Transaction, after: int, until: int) -> dict[int, str]:
        span = {"_id": {"$gt": after, "$lte": until}}
        found = _in(tx, "streams").find(span, {"migration": 1}, session=session_of(tx))
        return {up(one["_id"]): text_of(one.get("migration")) for one in found}


def _in(tx: Transaction, collection: str) -> Documents:
    return database_of(tx)[collection]


def _leaf(document: Document) -> Leaf:
    return leaf_of(
        document["_id"], document.get("stream"), document.get("migration"), document.get("version"), document.get("head")
    )


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
