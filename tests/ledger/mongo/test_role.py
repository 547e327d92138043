"""The role of docs/operations.md: workers do all their work with it, and cannot change what the ledger says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from backtrail.errors import BacktrailError, UsageError
from backtrail.image import Image, Written
from backtrail.migration import Invariant
from backtrail.stores.mongo.examined import demand_sound
from backtrail.stores.mongo.store import MongoStore
from ledger.campaigns import Campaign, Tally
from ledger.integrity import flaw
from ledger.journal import Entry, Fact, Head
from ledger.ledger import Ledger
from tests import servers
from tests.ledger.mongo.helpers import FACTS, REF, SHAPE, append, events, head, opened
from tests.ledger.mongo.test_expansion import STEPS, WHOLE, back, run

APPEND_ONLY = ["events", "chunks", "shapes"]
WRITTEN = ["campaigns", "batches", "streams", "recalls", "workers", "leases", "counters", "version"]
LARGE = Fact("updated", written=Written(REF, Image(SHAPE, os.urandom(2_000_000)), Image(SHAPE, b"i2")))


def role(name: str) -> dict[str, Any]:
    """The command that creates the role for the database of that name."""
    ledger = f"{name}_backtrail"
    privileges = [
        {
            "resource": {"db": name, "collection": ""},
            "actions": ["find", "insert", "update", "remove", "listCollections", "listIndexes"],
        },
        {"resource": {"db": ledger, "collection": ""}, "actions": ["createCollection", "createIndex", "find", "insert"]},
        *({"resource": {"db": ledger, "collection": one}, "actions": ["update"]} for one in WRITTEN),
        {"resource": {"db": ledger, "collection": "workers"}, "actions": ["remove"]},
    ]
    return {"createRole": "backtrailWorker", "privileges": privileges, "roles": []}


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """A server that asks for a password."""
    with servers.mongod(auth=True) as url:
        yield url


@pytest.fixture
def root(guarded: str) -> Iterator[MongoClient[dict[str, Any]]]:
    """The administrator, on a fresh database with people in it, and with users `worker` and `expander`."""
    with servers.mongo_database(guarded) as url, MongoClient[dict[str, Any]](url) as client:
        data = client.get_default_database()
        data.people.insert_many([{"_id": 1, "age": 36}])
        client.admin.command(role(data.name))
        own = ["backtrailWorker"]
        client.admin.command({"createUser": "worker", "pwd": "secret", "roles": own})
        client.admin.command({"createUser": "expander", "pwd": "secret", "roles": [*own, {"role": "dbAdmin", "db": data.name}]})
        yield client
        for user in ("worker", "expander"):
            client.admin.command("dropUser", user)
        client.admin.command("dropRole", "backtrailWorker")


def url_of(root: MongoClient[dict[str, Any]], user: str) -> str:
    host, port = root.address or ("", 0)
    return f"mongodb://{user}:secret@{host}:{port}/{root.get_default_database().name}?replicaSet=rs0&authSource=admin"


@pytest.fixture
def worker(root: MongoClient[dict[str, Any]]) -> Iterator[Ledger]:
    """A ledger that the worker's user has created, with one large event in it."""
    ledger = opened(url_of(root, "worker"))
    with closing(ledger.store):
        ledger.create()
        append(ledger, Entry(Head("m", "1"), "migrated", [FACTS[0], LARGE, FACTS[2]]))
        yield ledger


def test_a_whole_append_goes_through(worker: Ledger) -> None:
    """And all else that a worker and its companion do."""
    append(worker, Entry(head(worker), "migrated", FACTS), campaign=2)
    assert flaw(head(worker), events(worker)) is None
    blank = Campaign(0, "m", "m", "migrate", "open", {}, {}, ("int",), "f", 0, 0, "me", None, None, {}, fed=False, opened_at=1)
    campaigns = worker.campaigns
    with worker.store.transaction() as tx:
        campaign = campaigns.open(tx, blank)
        campaigns.add_batches(tx, campaign, 1, [["1"], ["2"]])
    with worker.store.transaction() as tx:
        campaigns.sent(tx, campaign.id, campaigns.unfinished(tx, campaign.id, ("ready",), 9), now=5)
        campaigns.move(tx, campaign, "running", now=5)
    with worker.store.transaction() as tx:
        batch = campaigns.claim(tx, campaign.id, 1)
        assert batch is not None
        campaigns.finish(tx, batch, Tally(migrated=1), now=6)
    with worker.store.transaction() as tx:
        campaigns.give_back(tx, campaign.id, 2)
        campaigns.recall_sent(tx, campaign.id)
        campaigns.advance(tx, campaign, {}, fed=True)
        worker.journal.store_recall(tx, "m", "1", "title", "d", "x")
        worker.presence.show(tx, "w", {})
        assert worker.presence.lead(tx, "feeder", "w") == 1
        worker.presence.leave(tx, "w")
    with worker.store.transaction(write=False) as tx:
        assert campaigns.progress(tx, [campaign.id])[campaign.id].done == 1
        assert worker.journal.strays(tx, 9) == []


ATTACKS = {
    "update": lambda database, name: database[name].update_many({}, {"$set": {"kind": "other"}}),
    "replace": lambda database, name: database[name].replace_one({}, {"kind": "other"}),
    "find and modify": lambda database, name: database[name].find_one_and_update({}, {"$unset": {"hash": ""}}),
    "upsert": lambda database, name: database[name].update_one({"_id": 1}, {"$set": {"kind": "other"}}, upsert=True),
    "delete": lambda database, name: database[name].delete_many({}),
    "drop": lambda database, name: database.command("drop", name),
    "drop the database": lambda database, name: database.command("dropDatabase"),
    "rename": lambda database, name: database.client.admin.command(
        "renameCollection", f"{database.name}.{name}", to=f"{database.name}.x"
    ),
    "change": lambda database, name: database.command("collMod", name, validator={"x": 1}),
    "cap": lambda database, name: database.command("convertToCapped", name, size=4096),
    "merge": lambda database, name: list(database.streams.aggregate([{"$merge": {"into": name}}])),
    "out": lambda database, name: list(database.streams.aggregate([{"$out": name}])),
}


@pytest.mark.parametrize("name", APPEND_ONLY)
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_written_cannot_be_changed(root: MongoClient[dict[str, Any]], worker: Ledger, attack: str, name: str) -> None:
    """Whatever the worker's user tries is refused, and leaves everything as it was."""
    database = root[f"{root.get_default_database().name}_backtrail"]
    before = list(database[name].find())
    assert before
    with MongoClient[dict[str, Any]](url_of(root, "worker")) as client:
        with pytest.raises(OperationFailure) as refusal:
            ATTACKS[attack](client[database.name], name)
        assert refusal.value.code == 13
    assert list(database[name].find()) == before


def test_expand_needs_to_administer_the_data_only(root: MongoClient[dict[str, Any]], worker: Ledger) -> None:
    """The user of workers is told that it may not; another one, with dbAdmin on the data besides, may, and can take back."""
    data = root.get_default_database()
    with pytest.raises(
        BacktrailError, match="create_collection quotes: the database user may not do this: grant it createCollection"
    ):
        run(WHOLE(worker))
    assert data.list_collection_names() == ["people"]
    ledger = opened(url_of(root, "expander"))
    with closing(ledger.store):
        try:
            assert run(WHOLE(ledger)) == STEPS
        except UsageError as error:
            raise AssertionError(str(error)) from error
        assert sorted(data.list_collection_names()) == ["by_hand", "people", "quotes"]
        assert len(back(WHOLE(ledger))) == len(STEPS)
    assert data.list_collection_names() == ["people"]


@pytest.mark.parametrize("query", [[{"$match": {"age": None}}], [{"$indexStats": {}}], [{"$unionWith": "people"}]], ids=str)
def test_invariants_are_examined(worker: Ledger, query: list[dict[str, Any]]) -> None:
    """With the worker's role: what it may not ask is not held against the invariant, and what is wrong is refused all the same."""
    store = worker.store
    assert isinstance(store, MongoStore)
    demand_sound(store.database, Invariant("rule", query, "people"), store.collections(), "m")
    with pytest.raises(UsageError, match="mtch"):
        demand_sound(store.database, Invariant("rule", [{"$mtch": {}}], "people"), store.collections(), "m")
