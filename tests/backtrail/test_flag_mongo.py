"""The flag on MongoDB, inside the application's own session and transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from bson import Int64, ObjectId
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import InvalidOperation

from backtrail import Keys, Rows, is_migrated
from backtrail.errors import UsageError
from tests.engine import Engine, migration

USERS = [ObjectId() for _ in range(4)]


@pytest.fixture
def engine(mongo: str) -> Iterator[Engine]:
    """Four users."""
    with closing(Engine(mongo)) as engine:
        with engine.database() as database:
            database["users"].insert_many([{"_id": one} for one in USERS])
        yield engine


def touched(name: str = "flagged") -> Any:
    """A migration that marks each user."""
    return migration(
        lambda entity: entity.update(entity.one("users"), {"seen": entity.now}),
        name=name,
        keys=Keys("users", "_id"),
        reads=(Rows("users", by="_id"),),
        writes=("users",),
    )


def test_through_everything_that_an_application_holds(engine: Engine) -> None:
    """A database, a client and a session answer alike, for a key with its type and for its text."""
    with MongoClient(engine.url) as client:
        database = client.get_default_database()
        assert not is_migrated(database, "flagged", USERS[0]), "without a ledger nobody is migrated"
        engine.migrate(touched(), only=[str(USERS[0])])
        with client.start_session() as session:
            for connection in (database, client, session):
                assert is_migrated(connection, "flagged", USERS[0])
                assert is_migrated(connection, "flagged", str(USERS[0]))
                assert not is_migrated(connection, "flagged", USERS[1])
        engine.rollback(touched(), only=[str(USERS[0])])
        assert not is_migrated(database, "flagged", USERS[0])


def test_numbers_as_other_languages_write_them(mongo: str) -> None:
    """A key that is a double in the document, or wide, is the same entity however the application holds it."""
    with closing(Engine(mongo)) as engine, engine.database() as database:
        database["users"].insert_many([{"_id": 1}, {"_id": 2.0}, {"_id": Int64(3)}, {"_id": 2.5}])
        assert engine.migrate(touched())["migrated"] == 4
        for key in (1, 1.0, 2, 2.0, 3, 3.0, Int64(3), 2.5, "2", "2.5"):
            assert is_migrated(database, "flagged", key), key
        assert engine.rollback(touched(), only=["2.0", "3"])["rolled_back"] == 2
        assert [is_migrated(database, "flagged", key) for key in (1.0, 2.0, 3.0)] == [True, False, False]


def test_it_sees_what_the_callers_transaction_sees(engine: Engine) -> None:
    """A transaction that began before the migration goes on seeing the old side, and lives."""
    engine.migrate(touched(), only=[str(USERS[3])])
    with MongoClient(engine.url) as client, client.start_session() as session, session.start_transaction():
        database = client.get_default_database()
        assert database["users"].count_documents({}, session=session) == 4
        assert not is_migrated(database, "flagged", USERS[0], session=session)
        engine.migrate(touched())
        assert not is_migrated(session, "flagged", USERS[0])
        assert is_migrated(database, "flagged", USERS[0]), "outside the transaction it is seen"
        database["visits"].insert_one({"user": USERS[0]}, session=session)
        session.commit_transaction()
        assert database["visits"].count_documents({}) == 1


def test_what_cannot_answer_is_named(engine: Engine) -> None:
    """A client without a database, a collection and an asynchronous client are refused by what they are."""
    with MongoClient(engine.url.replace("/" + engine.url.split("/")[3].partition("?")[0], "/", 1)) as client:
        with pytest.raises(UsageError, match="names no database"):
            is_migrated(client, "flagged", USERS[0])
        with pytest.raises(UsageError, match="Collection"):
            is_migrated(client["some"]["users"], "flagged", USERS[0])
    with pytest.raises(UsageError, match="AsyncMongoClient"):
        is_migrated(AsyncMongoClient(engine.url, connect=False), "flagged", USERS[0])
    with pytest.raises(UsageError, match="session="):
        is_migrated(object(), "flagged", USERS[0], session=object())


def test_errors_of_the_callers_own_stay_the_drivers(engine: Engine) -> None:
    """A session that has ended is the application's mistake, and told by its driver."""
    with MongoClient(engine.url) as client:
        session = client.start_session()
        session.end_session()
        with pytest.raises(InvalidOperation):
            is_migrated(session, "flagged", USERS[0])
