"""The expert's reference: `coaching-redesign` as a bulk script for one day, without ledger, way back, transactions, retries or notes.

Collection by collection in the order of the ids, a thousand documents at a time. A session is spliced: its bytes go on as they came,
with the new fields behind them. Updates that are alike are one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from bson import decode, encode
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, UpdateMany
from pymongo.database import Database

from backtrail.catalog.coaching_redesign.fields import ENTRY, RELATIONSHIP, missing
from bench.coaching.rules import Document, added, coaches, destination, enhanced

CHUNK = 1000
"""Documents written together."""

Part = tuple[str, Any, Any]
"""A collection, and the first and last id in it."""


class Mongo:
    """A script with a client of its own."""

    def __init__(self, url: str) -> None:
        self.client: MongoClient[Document] = MongoClient(url)
        self.plain = self.client.get_default_database()
        self.raw: Database[Any] = self.plain.client.get_database(
            self.plain.name, codec_options=self.plain.codec_options.with_options(document_class=RawBSONDocument)
        )
        self.steps = {
            "session_insights": ("client_user_id", self.sessions),
            "goals": ("user_id", self.goals),
            "coaching_relationships": ("client_user_id", self.relationships),
            "profiles": ("user_id", self.profiles),
        }

    def parts(self) -> list[Part]:
        found = []
        for name in self.steps:
            ids = [one["_id"] for one in self.plain[name].find({}, {"_id": 1}).sort("_id", 1)]
            found += [(name, ids[at], ids[min(at + CHUNK, len(ids)) - 1]) for at in range(0, len(ids), CHUNK)]
        return found

    def do(self, part: Part) -> None:
        name, first, last = part
        owner, step = self.steps[name]
        step({"_id": {"$gte": first, "$lte": last}, owner: {"$ne": None}})

    def sessions(self, where: Document) -> None:
        self._insert(self.raw["entries"], [_entry(session) for session in self.raw["session_insights"].find(where)])

    def goals(self, where: Document) -> None:
        self._insert(self.plain["destinations"], [destination(goal) for goal in self.plain["goals"].find(where)])

    def relationships(self, where: Document) -> None:
        found = self.plain["coaching_relationships"].find(where, dict.fromkeys(RELATIONSHIP, 1))
        self._update("coaching_relationships", ((one["_id"], missing(one, RELATIONSHIP)) for one in found))

    def profiles(self, where: Document) -> None:
        profiles = list(self.plain["profiles"].find(where))
        of_these = {"client_user_id": {"$in": [profile["user_id"] for profile in profiles]}}
        groups = self.plain["session_insights"].aggregate(
            [{"$match": of_these}, {"$group": {"_id": "$client_user_id", "number": {"$sum": 1}}}]
        )
        entries = {one["_id"]: one["number"] for one in groups}
        fields = {"client_user_id": 1, "coach_user_id": 1, "status": 1}
        coached = {one["client_user_id"] for one in self.plain["coaching_relationships"].find(of_these, fields) if coaches(one)}
        new = (
            (profile["_id"], enhanced(profile, (user := profile["user_id"]) in coached, entries.get(user, 0)))
            for profile in profiles
        )
        self._update("profiles", new)

    def _insert(self, collection: Any, documents: list[Any]) -> None:
        # A part may be of documents alone that belong to nobody.
        if documents:
            collection.insert_many(documents, ordered=False)

    def _update(self, collection: str, changes: Iterable[tuple[Any, Document]]) -> None:
        alike: dict[bytes, tuple[Document, list[Any]]] = defaultdict(lambda: ({}, []))
        for key, new in changes:
            if new:
                code = encode(new)
                if code not in alike:
                    alike[code] = (new, [])
                alike[code][1].append(key)
        if alike:
            updates = [UpdateMany({"_id": {"$in": keys}}, {"$set": new}) for new, keys in alike.values()]
            self.plain[collection].bulk_write(updates, ordered=False)


def _entry(session: RawBSONDocument) -> RawBSONDocument:
    document = decode(session.raw)
    new = added(document)
    if document.keys() & ENTRY.keys():
        return RawBSONDocument(encode(document | new))
    raw = bytes(session.raw)[4:-1] + encode(new)[4:]
    return RawBSONDocument((len(raw) + 4).to_bytes(4, "little") + raw)


def connect(url: str) -> Mongo:
    """The script for the database of that URL."""
    return Mongo(url)
