"""The streams of a ledger on MongoDB."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from bson.errors import BSONError
from bson.int64 import Int64
from pymongo import InsertOne, UpdateOne
from pymongo.errors import DuplicateKeyError, PyMongoError

from backtrail.errors import TooLarge
from backtrail.image import Shape
from backtrail.stores.base import Transaction
from ledger.entry import Head, Placed, Recall
from ledger.event import Event
from ledger.journal import Journal, Lock, chunks, load_shape
from ledger.mongo.bodies import INLINE, packed, remove, size_of, unpack
from ledger.mongo.collections import Document, Documents, database_of, first_of, session_of, span, spans, take_ids, up, whole
from ledger.streams import FIRST, LAST

MAX_BYTES = 128 * 1024 * 1024
"""As many bytes of events are read at once, unless one stream alone has more."""

GAPS = 200
"""Among how many gaps between streams one query looks for events."""


class MongoJournal(Journal):
    """The streams of a ledger on MongoDB."""

    unreadable = (PyMongoError, BSONError, KeyError, TypeError, ValueError, OverflowError)

    # -- heads ----------------------------------------------------------------------------------------------------

    def _places(self, tx: Transaction, migration: str, places: Sequence[str], states: Sequence[str] | None) -> Iterable[str]:
        where: Document = {"migration": migration, "key": {"$in": list(places)}}
        if states is not None:
            # Whoever asks for states takes it that pages visit the stream. They go by ids, of which somebody may have made something else.
            where |= {"state": {"$in": list(states)}, "_id": {"$gt": FIRST, "$lte": LAST}}
        return (str(one["key"]) for one in _streams(tx).find(where, {"_id": 0, "key": 1}, session=session_of(tx)))

    def _heads(self, tx: Transaction, migration: str, places: Sequence[str], lock: Lock | None) -> Iterable[Head]:
        # No lock is needed: whoever goes on with a stream writes its document, and of two that do so the second conflicts.
        where = {"migration": migration, "key": {"$in": list(places)}}
        found = [_head(document) for document in _streams(tx).find(where, session=session_of(tx))]
        if lock == "hold" and found:
            # Nor does reading keep anybody from writing: this is written so that whoever goes on with the stream conflicts.
            _streams(tx).update_many(
                {"_id": {"$in": [head.id for head in found]}}, {"$inc": {"holds": 1}}, session=session_of(tx)
            )
        return found

    def _page(
        self,
        tx: Transaction,
        migration: str,
        after: int,
        limit: int,
        state: str | None,
        failed: bool | None,
        campaign: int | None,
    ) -> list[Head]:
        where = _where(migration, state, failed, campaign) | {"_id": {"$gt": after, "$lte": LAST}}
        found = _streams(tx).find(where, session=session_of(tx)).sort("_id", 1).limit(limit)
        return [_head(document) for document in found]

    def subject_streams(
        self, tx: Transaction, migrations: Collection[str], places: Sequence[str], subjects: Sequence[str], *, lock: bool
    ) -> list[Head]:
        named = {"migration": {"$in": list(migrations)}}
        where = {"$or": [named | {"key": {"$in": list(places)}}, named | {"subject": {"$in": list(subjects)}}]}
        found = _streams(tx).find(where, session=session_of(tx)).sort("_id", 1)
        return self._named(tx, [_head(document) for document in found])

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
        streams = [InsertOne({"_id": Int64(head.id or 0), "migration": head.migration, **_row(head, BEGUN)}) for head in fresh]
        goes_on = [UpdateOne({"_id": head.id}, {"$set": _row(head, MOVING)}) for head in moved]
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
        if event.index is not None:
            document["ref"] = Int64(event.index)
        document["hash"], document["body"] = event.hash, event.body
        if len(event.body) <= INLINE:
            return document, []
        document["body"], pieces = packed(placed)
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

    def _events(self, tx: Transaction, streams: Sequence[int]) -> dict[int, list[Event]]:
        found: dict[int, list[Event]] = {stream: [] for stream in streams}
        for part in chunks(spans(streams)):
            documents = self._documents(tx, {"$or": list(part)}, None if len(streams) == 1 else MAX_BYTES)
            for stream, event in self._loaded(tx, documents):
                found[stream].append(event)
        return found

    def _loaded(self, tx: Transaction, documents: Iterable[Document]) -> Iterator[Placed]:
        shapes: dict[Any, Shape] = {}
        for document in documents:
            number = document.get("shape")
            if number is not None and number not in shapes:
                shapes[number] = self._load_shape(tx, number)
            yield Placed(document["_id"]["s"], _event(document, shapes.get(number)))

    def _documents(self, tx: Transaction, where: Document, most: int | None = None) -> list[Document]:
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

    def _events_at(self, tx: Transaction, places: Sequence[tuple[int, int]]) -> Iterable[Placed]:
        where = {"_id": {"$in": [{"s": stream, "v": version} for stream, version in places]}}
        return list(self._loaded(tx, self._documents(tx, where)))

    def _numbered(self, tx: Transaction, numbers: Sequence[int], migration: str | None) -> list[tuple[Head, Event]]:
        found = list(self._loaded(tx, self._documents(tx, {"ref": {"$in": list(numbers)}})))
        heads = self._by_id(tx, {placed.stream for placed in found}, migration)
        return [(heads[stream], event) for stream, event in found if stream in heads]

    def _subjects(self, tx: Transaction, streams: Sequence[int]) -> dict[int, str]:
        found: dict[int, str] = {}
        for part in chunks(streams):
            where = {"_id": {"$in": list(part)}, "subject": {"$type": "string"}}
            for document in _streams(tx).find(where, {"subject": 1}, session=session_of(tx)):
                found[document["_id"]] = document["subject"]
        return found

    def _by_id(self, tx: Transaction, streams: set[int], migration: str | None) -> dict[int, Head]:
        where: Document = {} if migration is None else {"migration": migration}
        found: dict[int, Head] = {}
        for part in chunks(list(streams)):
            for document in _streams(tx).find(where | {"_id": {"$in": list(part)}}, session=session_of(tx)):
                found[document["_id"]] = _head(document)
        return found

    # -- erasing --------------------------------------------------------------------------------------------------

    def redact(self, tx: Transaction, stream: int, bodies: Mapping[int, bytes]) -> None:
        changes = [
            UpdateOne({"_id": {"s": Int64(stream), "v": version}}, {"$set": {"body": body}, "$unset": {"ref": ""}})
            for version, body in bodies.items()
        ]
        if changes:
            remove(database_of(tx)["chunks"], session_of(tx), stream, bodies)
            database_of(tx)["events"].bulk_write(changes, ordered=False, session=session_of(tx))

    def forget(self, tx: Transaction, heads: Sequence[Head]) -> None:
        for head in heads:
            left: Document = {"$set": _row(head, FORGOTTEN), "$unset": {"name": ""}}
            _streams(tx).update_one({"_id": head.id}, left, session=session_of(tx))

    # -- recalls --------------------------------------------------------------------------------------------------

    def _recalls(self, tx: Transaction, migration: str, places: Sequence[str]) -> Iterable[Recall]:
        where = {"migration": migration, "key": {"$in": list(places)}}
        found = database_of(tx)["recalls"].find(where, session=session_of(tx))
        return [Recall(one["key"], one["label"], one["digest"], json.loads(one["result"])) for one in found]

    def _store_recalls(self, tx: Transaction, migration: str, recalls: Sequence[Recall], *, new: bool) -> None:
        calls = [{"migration": migration, "key": one.place, "label": one.label, "digest": one.digest} for one in recalls]
        results = [{"result": json.dumps(one.result)} for one in recalls]
        collection, session = database_of(tx)["recalls"], session_of(tx)
        with first_of("this recall"):
            if new:
                collection.insert_many([call | result for call, result in zip(calls, results, strict=True)], session=session)
            else:
                kept = [UpdateOne(call, {"$setOnInsert": one}, upsert=True) for call, one in zip(calls, results, strict=True)]
                collection.bulk_write(kept, ordered=False, session=session)

    def forget_recalls(self, tx: Transaction, migration: str, places: Sequence[str]) -> None:
        where = {"migration": migration, "key": {"$in": list(places)}}
        database_of(tx)["recalls"].delete_many(where, session=session_of(tx))


FIELDS = {"_id", "kind", "campaign", "at", "shape", "ref", "hash", "body"}
"""The fields of an event's document."""

MOVING = {
    "version": "version",
    "hash": "head",
    "state": "state",
    "failed": "failed",
    "campaign": "campaign",
    "subject": "subject",
}
"""What a job changes of a stream's document, by the fields of its head."""

FORGOTTEN = {"place": "key", "secret": "secret", "subject": "subject", "origin": "origin"}
"""What an erasure leaves of the rest."""

BEGUN = {"place": "key", "secret": "secret", "name": "name", **MOVING}
"""What a new stream says."""


def _streams(tx: Transaction) -> Documents:
    return database_of(tx)["streams"]


def _where(migration: str, state: str | None, failed: bool | None, campaign: int | None) -> Document:
    given = {"migration": migration, "state": state, "failed": failed, "campaign": campaign}
    return {name: value for name, value in given.items() if value is not None}


def _row(head: Head, fields: Mapping[str, str]) -> Document:
    values = {name: getattr(head, field) for field, name in fields.items()}
    values |= {"campaign": Int64(head.campaign)} if "campaign" in values else {}
    return {name: value for name, value in values.items() if value is not None}


def _head(document: Document) -> Head:
    failed = document.get("failed")
    return Head(
        document["migration"],
        document["key"],
        up(document["_id"]),
        whole(document.get("version")),
        document.get("head", b""),
        document.get("state", ""),
        # 1 would pass for true.
        failed if isinstance(failed, bool) else None,  # type: ignore[arg-type]
        whole(document.get("campaign")),
        document.get("subject"),
        document.get("secret", b""),
        document["key"],
        document.get("name"),
        document.get("origin"),
        # A number that is none of ours stands for another stream as soon as it is made one.
        whole(document["_id"]) != up(document["_id"]),
    )


def _event(document: Document, shape: Shape | None) -> Event:
    index = document.get("ref")
    event = Event(
        whole(document["_id"].get("v")),
        document.get("kind", ""),
        whole(document.get("campaign")),
        whole(document.get("at")),
        shape=shape,
    )
    # A field that no event has was put there by somebody: such an event is not what was appended.
    event.body, event.hash = document.get("body", b""), document.get("hash", b"") if document.keys() <= FIELDS else b""
    event.index = None if index is None else whole(index)
    return event
