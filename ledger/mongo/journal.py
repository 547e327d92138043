"""The streams of a ledger on MongoDB."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bson.errors import BSONError
from bson.int64 import Int64
from pymongo import InsertOne, UpdateOne
from pymongo.errors import DuplicateKeyError, PyMongoError

from backtrail.errors import TooLarge
from backtrail.image import Ref, Shape
from backtrail.stores.base import Transaction
from ledger.event import Event, index_of, ref_number
from ledger.journal import Head, Journal, Placed, chunks, load_shape
from ledger.mongo.collections import Document, Documents, database_of, first_of, session_of, span, spans, take_ids, whole
from ledger.mongo.images import FIELDS, INLINE, packed, size_of, unpack

MAX_BYTES = 128 * 1024 * 1024
"""As many bytes of events are read at once, unless one stream alone has more."""

GAPS = 200
"""Among how many gaps between streams one query looks for events."""


class MongoJournal(Journal):
    """The streams of a ledger on MongoDB."""

    unreadable = (PyMongoError, BSONError, KeyError, TypeError, ValueError, OverflowError)

    # -- heads ----------------------------------------------------------------------------------------------------

    def heads(self, tx: Transaction, migration: str, keys: Sequence[str], *, lock: bool) -> dict[str, Head]:
        # No lock is needed: whoever goes on with a stream writes its document, and of two that do so the second conflicts.
        found: dict[str, Head] = {}
        for chunk in chunks(keys):
            for document in _streams(tx).find({"migration": migration, "key": {"$in": list(chunk)}}, session=session_of(tx)):
                found[document["key"]] = _head(document)
        return found

    def page(
        self,
        tx: Transaction,
        migration: str,
        after: int,
        limit: int,
        *,
        state: str | None = None,
        failed: bool | None = None,
        campaign: int | None = None,
    ) -> list[Head]:
        where = _where(migration, state, failed, campaign) | {"_id": {"$gt": after}}
        found = _streams(tx).find(where, session=session_of(tx)).sort("_id", 1).limit(limit)
        return [_head(document) for document in found]

    def matching(self, tx: Transaction, migration: str, *, state: str | None = None, failed: bool | None = None) -> int:
        return _streams(tx).count_documents(_where(migration, state, failed, None), session=session_of(tx))

    def count(self, tx: Transaction, migration: str) -> dict[str, int]:
        stages: list[Document] = [{"$match": {"migration": migration}}, {"$group": {"_id": "$state", "n": {"$sum": 1}}}]
        return {one["_id"]: one["n"] for one in _streams(tx).aggregate(stages, session=session_of(tx))}

    def strays(self, tx: Transaction, limit: int) -> list[int]:
        found: list[int] = []
        gaps = self._gaps(tx)
        while len(found) < limit and (some := [gap for gap, _ in zip(gaps, range(GAPS), strict=False)]):
            found += self._strays_in(tx, some, limit - len(found))
        return found

    def _gaps(self, tx: Transaction) -> Iterator[tuple[float, float]]:
        """Where no stream has its id: the first such id, and the id of the next stream."""
        first = float("-inf")
        for stream in _streams(tx).find({}, {"_id": 1}, session=session_of(tx)).sort("_id", 1).batch_size(10_000):
            if stream["_id"] > first:
                yield first, stream["_id"]
            first = stream["_id"] + 1
        yield first, float("inf")

    def _strays_in(self, tx: Transaction, gaps: list[tuple[float, float]], limit: int) -> list[int]:
        found: list[int] = []
        events, session = database_of(tx)["events"], session_of(tx)
        while gaps and len(found) < limit:
            ranges = [span(first, after) for first, after in gaps]
            stray = next(events.find({"$or": ranges}, {"_id": 1}, session=session).sort("_id", 1).limit(1), None)
            if stray is None:
                break
            number = int(stray["_id"]["s"])
            found.append(number)
            gaps = [(max(first, number + 1), after) for first, after in gaps if after > number + 1]
        return found

    # -- appending ------------------------------------------------------------------------------------------------

    def _new_ids(self, tx: Transaction, number: int) -> Sequence[int]:
        return take_ids(database_of(tx), "streams", number) if number else ()

    def _write(self, tx: Transaction, fresh: Sequence[Head], moved: Sequence[Head], events: Sequence[Placed]) -> None:
        streams = [
            InsertOne({"_id": Int64(head.id or 0), "migration": head.migration, "key": head.key, **_row(head)}) for head in fresh
        ]
        goes_on = [UpdateOne({"_id": head.id}, {"$set": _row(head)}) for head in moved]
        documents: list[Document] = []
        pieces: list[Document] = []
        for placed in events:
            document, large = self._document(tx, placed)
            documents.append(document)
            pieces += large
        database, session = database_of(tx), session_of(tx)
        # The unique version is what makes a job idempotent: whoever comes second reads again and finds nothing to do.
        with first_of("one of these entities"):
            if streams or goes_on:
                database["streams"].bulk_write([*streams, *goes_on], ordered=False, session=session)
            for name, new in (("events", documents), ("chunks", pieces)):
                if new:
                    database[name].insert_many(new, ordered=False, session=session)

    def _document(self, tx: Transaction, placed: Placed) -> tuple[Document, list[Document]]:
        event = placed.event
        document: Document = {
            "_id": {"s": Int64(placed.stream), "v": event.version},
            "kind": event.kind,
            "campaign": Int64(event.campaign),
            "at": Int64(event.at),
        }
        if event.shape is not None:
            document["shape"] = self._shape_id(tx, event.shape)
        if event.ref is not None:
            document["key"] = event.ref.key
        pieces: list[Document] = []
        for field in FIELDS:
            value = getattr(event, field)
            raw = value.encode() if isinstance(value, str) else value
            if raw is not None and len(raw) > INLINE:
                value, large = packed(placed, field, raw)
                pieces += large
            if value is not None:
                document[field] = value
        document["hash"] = event.hash
        number = index_of(event.ref, event.before)
        if number is not None:
            document["ref"] = Int64(number)
        return document, pieces

    def _keep_shape(self, tx: Transaction, body: str) -> int:
        # Outside the transaction: two that meet the same shape for the first time need not wait for each other, nor lose their work.
        shapes = database_of(tx)["shapes"]
        known = shapes.find_one({"body": body})
        if known is None:
            number = take_ids(database_of(tx), "shapes", 1)[0]
            try:
                shapes.insert_one({"_id": number, "body": body})
            except DuplicateKeyError:
                known = shapes.find_one({"body": body})
            else:
                return number
        return int((known or {})["_id"])

    def _load_shape(self, tx: Transaction, number: Any) -> Shape:
        # Outside as well: this transaction may have kept it after it began to look.
        found = database_of(tx)["shapes"].find_one({"_id": number}) or {}
        return load_shape(found.get("body"))

    # -- reading --------------------------------------------------------------------------------------------------

    def events(self, tx: Transaction, streams: Iterable[int]) -> dict[int, list[Event]]:
        wanted = list(streams)
        found: dict[int, list[Event]] = {stream: [] for stream in wanted}
        shapes: dict[Any, Shape] = {}
        for part in chunks(spans(wanted)):
            for document in self._read(tx, {"$or": list(part)}, None if len(wanted) == 1 else MAX_BYTES):
                number = document.get("shape")
                if number is not None and number not in shapes:
                    shapes[number] = self._load_shape(tx, number)
                found[document["_id"]["s"]].append(_event(document, shapes.get(number)))
        return found

    def _read(self, tx: Transaction, where: Document, most: int | None = None) -> list[Document]:
        """The documents of events in the order of their ids, with all that belongs to them.

        Raises:
            TooLarge: they are more bytes than `most`.
        """
        database, session = database_of(tx), session_of(tx)
        documents: list[Document] = []
        size = 0
        for document in database["events"].find(where, session=session).sort("_id", 1):
            documents.append(document)
            size += size_of(document)
            if most is not None and size > most:
                raise TooLarge("the images of these entities are more than should be in memory at once")
        unpack(database["chunks"], session, documents)
        return documents

    def last_events(self, tx: Transaction, heads: Iterable[Head]) -> dict[str, Event]:
        keys = {(head.id, head.version): head.key for head in heads if head.id is not None}
        found: dict[str, Event] = {}
        for part in chunks(list(keys)):
            for document in self._read(tx, {"_id": {"$in": [{"s": stream, "v": version} for stream, version in part]}}):
                at = document["_id"]
                found[keys[at["s"], at["v"]]] = _event(document, None)
        return found

    def others(self, tx: Transaction, refs: Sequence[Ref], migration: str | None = None) -> dict[Ref, list[tuple[Head, Event]]]:
        numbers = {ref_number(ref): ref for ref in refs}
        documents: list[tuple[Ref, Document]] = []
        for part in chunks(list(numbers)):
            for document in self._read(tx, {"ref": {"$in": list(part)}}):
                ref = numbers[document["ref"]]
                if document.get("key") == ref.key:
                    documents.append((ref, document))
        heads = self._by_id(tx, {document["_id"]["s"] for _, document in documents}, migration)
        found: dict[Ref, list[tuple[Head, Event]]] = {}
        for ref, document in sorted(documents, key=lambda one: (one[1]["at"], one[1]["_id"]["v"])):
            head = heads.get(document["_id"]["s"])
            if head is not None:
                event = Event(
                    whole(document["_id"]["v"]), document["kind"], whole(document["campaign"]), whole(document["at"]), ref
                )
                event.after = document.get("after")
                found.setdefault(ref, []).append((head, event))
        return found

    def _by_id(self, tx: Transaction, streams: set[int], migration: str | None) -> dict[int, Head]:
        where: Document = {} if migration is None else {"migration": migration}
        found: dict[int, Head] = {}
        for part in chunks(list(streams)):
            for document in _streams(tx).find(where | {"_id": {"$in": list(part)}}, session=session_of(tx)):
                found[document["_id"]] = _head(document)
        return found

    # -- recalls --------------------------------------------------------------------------------------------------

    def recalls(self, tx: Transaction, migration: str, keys: Sequence[str]) -> dict[str, dict[tuple[str, str], Any]]:
        found: dict[str, dict[tuple[str, str], Any]] = {}
        for part in chunks(keys):
            where = {"migration": migration, "key": {"$in": list(part)}}
            for document in database_of(tx)["recalls"].find(where, session=session_of(tx)):
                call = document["label"], document["digest"]
                found.setdefault(document["key"], {})[call] = json.loads(document["result"])
        return found

    def store_recall(self, tx: Transaction, migration: str, key: str, label: str, digest: str, result: Any) -> None:
        call = {"migration": migration, "key": key, "label": label, "digest": digest}
        values = {"$setOnInsert": {"result": json.dumps(result)}}
        with first_of("this recall"):
            database_of(tx)["recalls"].update_one(call, values, upsert=True, session=session_of(tx))


def _streams(tx: Transaction) -> Documents:
    return database_of(tx)["streams"]


def _where(migration: str, state: str | None, failed: bool | None, campaign: int | None) -> Document:
    given = {"migration": migration, "state": state, "failed": failed, "campaign": campaign}
    return {name: value for name, value in given.items() if value is not None}


def _row(head: Head) -> Document:
    return {
        "version": head.version,
        "head": head.hash,
        "state": head.state,
        "failed": head.failed,
        "campaign": Int64(head.campaign),
    }


def _head(document: Document) -> Head:
    failed = document.get("failed")
    return Head(
        document["migration"],
        document["key"],
        int(document["_id"]),
        whole(document.get("version")),
        document.get("head", b""),
        document.get("state", ""),
        # 1 would pass for true.
        failed if isinstance(failed, bool) else None,  # type: ignore[arg-type]
        whole(document.get("campaign")),
    )


def _event(document: Document, shape: Shape | None) -> Event:
    ref, index = document.get("key"), document.get("ref")
    return Event(
        whole(document["_id"].get("v")),
        document.get("kind", ""),
        whole(document.get("campaign")),
        whole(document.get("at")),
        None if shape is None or ref is None else Ref(shape.table, ref),
        shape,
        document.get("before"),
        document.get("after"),
        document.get("data"),
        document.get("hash", b""),
        None if index is None else whole(index),
    )
