"""An eye for a MongoDB database: plain pymongo, documents as raw bytes, and the server's own dbHash."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database

from tests.acceptance.eyes import Eye, Person, User, digest

LEDGER = "_backtrail"
RAW = CodecOptions(document_class=RawBSONDocument)

PEOPLE = {
    "bsonType": "object",
    "required": ["user_id", "first"],
    "properties": {"first": {"bsonType": "string"}, "last": {"not": {"enum": ["Bad"]}}},
}
"""What people must be like: as on an SQL database."""


@cache
def _client(server: str) -> MongoClient[dict[str, Any]]:
    # What is not on the disk yet is gone where the server is killed, and is not there for the eye either.
    return MongoClient(server, readConcernLevel="majority")


class MongoEye(Eye):
    """A MongoDB database and that of its ledger."""

    kind = "mongo"
    key = "_id"

    @property
    def data(self) -> Database[dict[str, Any]]:
        """The database of the data."""
        parts = urlsplit(self.url)
        return _client(urlunsplit(parts._replace(path="/")))[parts.path.strip("/")]

    @property
    def ledger(self) -> Database[dict[str, Any]]:
        """The database of the ledger."""
        return self.data.client[self.data.name + LEDGER]

    def everything(self) -> dict[str, str]:
        found = {}
        schema = []
        for place, database in (("", self.data), ("backtrail.", self.ledger)):
            for one in sorted(database.list_collections(), key=lambda one: str(one["name"])):
                name = one["name"]
                indexes = [] if one["type"] == "view" else sorted(database[name].index_information().items())
                schema.append((place, name, one["type"], one["options"], indexes))
                found[place + name] = digest(raw.hex() for raw in documents(database, name))
        return {"schema": repr(schema), **found}

    def hashes(self, prefix: str) -> dict[str, str]:
        """What the server's own dbHash makes of each collection of a world."""
        found: dict[str, str] = self.data.command("dbHash")["collections"]
        return {name: text for name, text in found.items() if name.startswith(f"{prefix}_")}

    # -- the world ------------------------------------------------------------------------------------------------

    def populate(self, prefix: str, users: int) -> None:
        people = self.data.create_collection(f"{prefix}_people", validator={"$jsonSchema": PEOPLE})
        people.create_index("user_id", unique=True)
        self.data[f"{prefix}_users"].insert_many(
            {"_id": number, "full_name": f"Zoë{number} B{number}", "score": number if number % 3 else None}
            for number in range(1, users + 1)
        )

    def users(self, prefix: str) -> list[User]:
        return [(one["_id"], one["full_name"], one["score"]) for one in self.data[f"{prefix}_users"].find().sort("_id", 1)]

    def people(self, prefix: str) -> list[Person]:
        found = self.data[f"{prefix}_people"].find().sort([("user_id", 1), ("_id", 1)])
        return [(one["user_id"], one["first"], one["last"]) for one in found]

    def rename(self, prefix: str, number: int, full_name: str) -> None:
        self.data[f"{prefix}_users"].update_one({"_id": number}, {"$set": {"full_name": full_name}})

    def rename_person(self, prefix: str, number: int, last: str) -> None:
        self.data[f"{prefix}_people"].update_one({"user_id": number}, {"$set": {"last": last}})

    def delete_user(self, prefix: str, number: int) -> None:
        self.data[f"{prefix}_people"].delete_many({"user_id": number})
        self.data[f"{prefix}_users"].delete_one({"_id": number})

    @contextmanager
    def held(self, prefix: str, number: int, seconds: float) -> Iterator[None]:
        # A transaction that has written the document, which nobody else can as long as it is open, and then thinks better of it.
        with self.data.client.start_session() as session:
            session.start_transaction()
            self.data[f"{prefix}_users"].update_one({"_id": number}, {"$set": {"held": True}}, session=session)
            timer = threading.Timer(seconds, session.abort_transaction)
            timer.start()
            yield
            timer.join()

    # -- the ledger -----------------------------------------------------------------------------------------------

    def states(self, migration: str) -> dict[str, int]:
        stages = [{"$match": {"migration": migration}}, {"$group": {"_id": "$state", "n": {"$sum": 1}}}]
        return {one["_id"]: one["n"] for one in self.ledger["streams"].aggregate(stages)}

    def gaps(self, migration: str) -> list[Any]:
        versions: dict[int, list[int]] = defaultdict(list)
        for event in self.ledger["events"].find({}, {"_id": 1}).sort("_id", 1):
            versions[event["_id"]["s"]].append(event["_id"]["v"])
        streams = list(self.ledger["streams"].find({"migration": migration}))
        return [one for one in streams if versions[one["_id"]] != list(range(1, one["version"] + 1))]

    def kinds(self, migration: str, key: str) -> list[str]:
        stream = self.ledger["streams"].find_one({"migration": migration, "key": key})
        assert stream is not None, f"there is no stream of {key}"
        return [event["kind"] for event in self.ledger["events"].find({"_id.s": stream["_id"]}).sort("_id.v", 1)]

    def done(self, campaign: int) -> int:
        counts = {"$add": ["$migrated", "$rolled_back", "$skipped", "$failed"]}
        stages = [{"$match": {"_id.campaign": campaign}}, {"$group": {"_id": None, "n": {"$sum": counts}}}]
        return sum(int(one["n"]) for one in self.ledger["batches"].aggregate(stages))

    def state(self, campaign: int) -> str:
        return str(self._campaign(campaign)["state"])

    def options(self, campaign: int) -> str:
        return str(self._campaign(campaign)["options"])

    def _campaign(self, campaign: int) -> dict[str, Any]:
        found = self.ledger["campaigns"].find_one({"_id": campaign})
        assert found is not None, f"there is no campaign {campaign}"
        return found

    def recalls(self, migration: str) -> int:
        return self.ledger["recalls"].count_documents({"migration": migration})

    def age(self) -> None:
        assert self.ledger["version"].update_one({"_id": "version"}, {"$set": {"step": 9999}}).matched_count == 1


def documents(database: Database[dict[str, Any]], collection: str) -> list[bytes]:
    """The raw bytes of a collection's documents, sorted."""
    found = database.get_collection(collection, codec_options=RAW).find()
    return sorted(bytes(one.raw) for one in found)


def by_key(database: Database[dict[str, Any]], collection: str) -> dict[Any, bytes]:
    """The raw bytes of each document of a collection by its key; the rest of it may be nothing that Python can read."""
    keys = [one["_id"] for one in database[collection].find({}, {"_id": 1}).sort("_id", 1)]
    found = database.get_collection(collection, codec_options=RAW).find().sort("_id", 1)
    return dict(zip(keys, (bytes(one.raw) for one in found), strict=True))
