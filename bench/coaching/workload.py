"""`coaching-redesign`: sessions become entries, goals destinations; profiles and relationships are enhanced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bson import ObjectId
from pymongo import MongoClient

from backtrail.catalog.coaching_redesign import sample
from bench.coaching import bulk, set_based
from bench.database import Database
from bench.script import Connect
from bench.workload import Compared, Shape

OWNERS = {
    "entries": "client_user_id",
    "destinations": "user_id",
    "profiles": "user_id",
    "coaching_relationships": "client_user_id",
}
READ = {"session_insights": "client_user_id", "goals": "user_id"}


class CoachingRedesign(Compared):
    """The sample's users."""

    name = "coaching-redesign"
    source = "backtrail.catalog.coaching_redesign.migration:CoachingRedesign"
    old = tuple(Shape(name) for name in ("profiles", "coaching_relationships", *READ))
    new = tuple(Shape(name, owner=owner) for name, owner in OWNERS.items())
    # A pipeline cannot make the titles, and keeps no order of fields.
    loose = tuple(Shape(name, owner=owner, without=("title",)) for name, owner in OWNERS.items())
    created = ("entries", "destinations")
    naive = "bench.coaching.naive"

    def fill(self, url: str, users: int) -> None:
        with MongoClient[dict[str, Any]](url) as client:
            sample.create(client.get_default_database(), users)

    def keys(self, database: Database, url: str) -> list[ObjectId]:
        # Not everybody has a profile.
        owners = {**OWNERS, **READ}
        return sorted({key for name, owner in owners.items() for key in database.values(url, name, owner)})

    def spoil(self, database: Database, url: str, keys: Sequence[Any]) -> int:
        with MongoClient[dict[str, Any]](url) as client:
            documents = client.get_default_database()
            groups: list[dict[str, Any]] = [
                {"$match": {"user_id": {"$in": list(keys)}}},
                {"$group": {"_id": "$user_id", "one": {"$first": "$_id"}}},
            ]
            taken = [one["one"] for one in documents["goals"].aggregate(groups)]
            holders = [{"_id": one, "user_id": None, "taken": True} for one in taken]
            documents.command("insert", "destinations", documents=holders, bypassDocumentValidation=True)
        return len(taken)

    def set_based(self, url: str) -> None:
        set_based.migrate(url)

    def connect(self) -> Connect:
        return bulk.connect
