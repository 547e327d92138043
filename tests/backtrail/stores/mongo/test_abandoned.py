"""Transactions that a killed process left open: they are told from those of the living, and ended."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from bson.binary import Binary
from pymongo import MongoClient

from backtrail.errors import Contended
from backtrail.stores import open_store
from backtrail.stores.mongo.store import MongoStore
from tests.servers import until

HOLDS = """
import sys, time
from pymongo import MongoClient
client = MongoClient(sys.argv[1], appname=sys.argv[2])
with client.start_session() as session:
    session.start_transaction()
    client.get_default_database()["users"].update_one({"_id": 1}, {"$inc": {"n": 1}}, session=session)
    print(bytes(session.session_id["id"]).hex(), flush=True)
    time.sleep(600)
"""


@contextmanager
def holder(url: str, name: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has the document in hand, and means to keep it."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, url, name], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    session = process.stdout.readline().strip()
    try:
        assert len(session) == 32
        yield process
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
        with MongoClient(url) as client:  # else the test's database could not be dropped for a minute
            client.admin.command("killSessions", [{"id": Binary(bytes.fromhex(session), 4)}])


def written(store: MongoStore) -> bool:
    """Whether a transaction of the store can write the document."""
    try:
        with store.transaction() as tx:
            store.database["users"].update_one({"_id": 1}, {"$inc": {"n": 10}}, session=tx.session)
    except Contended:
        return False
    return True


@pytest.fixture
def store(mongo: str) -> Iterator[MongoStore]:
    """A store with one user."""
    with MongoClient(mongo) as client:
        client.get_default_database()["users"].insert_one({"_id": 1, "n": 0})
    with closing(open_store(mongo, lock_timeout_ms=1000)) as one:
        assert isinstance(one, MongoStore)
        yield one


def test_of_a_process_that_was_killed(store: MongoStore) -> None:
    """Long before the server would end it, the transaction of a killed process is out of the way."""
    with holder(store.url, "backtrail") as process:
        assert not written(store)
        process.kill()
        process.wait(10)
        begun = time.monotonic()
        until(lambda: written(store), what="a write")
        assert time.monotonic() - begun < 10
    found = store.database["users"].find_one()
    assert found == {"_id": 1, "n": 10}


@pytest.mark.parametrize(("name", "killed"), [("backtrail", False), ("another program", True)])
def test_of_others(store: MongoStore, name: str, killed: bool) -> None:
    """One of a living process is left alone however long it does nothing, and so are other programs' own."""
    with holder(store.url, name) as process:
        if killed:
            process.kill()
            process.wait(10)
        deadline = time.monotonic() + 3  # a look at one that has long done nothing is among it
        while time.monotonic() < deadline:
            assert not written(store)
            time.sleep(0.2)
