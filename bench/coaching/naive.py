"""What most people would write: one Celery task and one transaction per user, one document at a time, without ledger."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from bson import ObjectId
from pymongo import MongoClient
from pymongo.client_session import ClientSession

from backtrail.catalog.coaching_redesign.fields import RELATIONSHIP, missing
from bench.coaching.rules import Document, added, coaches, destination, enhanced
from bench.tasks import DATABASE, make_app

app = make_app(__name__)


@cache
def _client() -> MongoClient[Document]:
    return MongoClient(os.environ[DATABASE])


@app.task
def migrate(user_id: str) -> None:
    """One user, in a session and a transaction of its own."""
    with _client().start_session() as session:
        session.with_transaction(lambda one: _migrate(one, ObjectId(user_id)))


def _migrate(session: ClientSession, user: ObjectId) -> None:
    database: Any = _client().get_default_database()
    relationships = list(database.coaching_relationships.find({"client_user_id": user}, session=session))
    entries = list(database.session_insights.find({"client_user_id": user}, session=session))
    for entry in entries:
        database.entries.insert_one(entry | added(entry), session=session)
    for goal in database.goals.find({"user_id": user}, session=session):
        database.destinations.insert_one(destination(goal), session=session)
    for relationship in relationships:
        if new := missing(relationship, RELATIONSHIP):
            database.coaching_relationships.update_one({"_id": relationship["_id"]}, {"$set": new}, session=session)
    coached = any(map(coaches, relationships))
    for profile in database.profiles.find({"user_id": user}, session=session):
        if new := enhanced(profile, coached, len(entries)):
            database.profiles.update_one({"_id": profile["_id"]}, {"$set": new}, session=session)
